"""What an L2 has to implement: values by key, with leases and stamps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from async_hybrid_cache_codecs import Serializer

from .positions import Position

__all__ = ["DistributedCache", "Hit", "Miss", "Watchable"]


class Hit(NamedTuple):
    """An entry found in L2: opaque bytes, the stamp it was filled under, and the seconds it has left."""

    data: bytes
    stamp: Position
    remaining: float


class Miss(NamedTuple):
    """Nothing usable in L2. `token` is the lease that a fill needs; `None` where somebody else holds it, or none was
    asked for. `held_seconds`: for how much longer at most somebody else does; 0 where nobody, or it is not known.
    """

    token: str | None
    held_seconds: float = 0.0


@runtime_checkable
class DistributedCache(Protocol):
    """Values by scope and key, shared by all instances.

    A **lease** (as in Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013) is what keeps a slow loader
    from storing a value that was removed meanwhile: a miss hands out a token, a delete or a clear voids it, a
    fill needs its live token. Every operation is atomic for each of its keys and takes one round trip.

    Constructing one touches neither the network nor an event loop; `open` binds it to the running loop, and it
    may be opened again after `close`. Errors are `DistributedCacheError` with the driver's as the cause. Calls
    are bounded in time by the caller, who cancels them.
    """

    @property
    def serializer(self) -> Serializer:
        """Turns values into bytes; bound to a type where it can be and a type is known."""
        ...

    async def open(self) -> None:
        """Make ready for use in the running loop."""
        ...

    async def close(self) -> None:
        """Let go of every resource that this object made, and of none that it was given. Never raises."""
        ...

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        """The entry, or a lease to fill it.

        An entry stamped before `oldest` is deleted and counts as a miss. A lease ends by itself after
        `lease_seconds`; while one is live, others that miss get no token, and `held_seconds` instead. 0
        takes no lease: a miss has no token.
        """
        ...

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        """Delete the entry, void any lease on it, and take a new one: how a `set` begins."""
        ...

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        """Store `data` for `ttl` seconds if `token` is still live, and end the lease. False where it is not."""
        ...

    async def release(self, scope: str, key: str, *, token: str) -> None:
        """Give a lease back without a fill. Does nothing where `token` is not live."""
        ...

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        """Delete the entries and void the leases on them."""
        ...

    async def clear(self, scope: str | None) -> None:
        """Delete every entry and void every lease of one scope, or of all (`None`), and nothing else's."""
        ...


@runtime_checkable
class Watchable(Protocol):
    """What a `DistributedCache` may be besides: able to tell that a lease has ended, so that nobody has to ask for it.

    Where it is not, every process that misses a key loads it, whoever holds the lease.
    """

    def watch(self, scope: str, key: str) -> AbstractAsyncContextManager[asyncio.Event]:
        """Within the context, an event that is set once the entry or its lease may have changed since it was entered.

        Losing the connection sets it too. A lease that ends by itself need not, nor need what a server that fails does:
        who waits does so for a bounded time, and then asks. Entering may raise `DistributedCacheError`.
        """
        ...
