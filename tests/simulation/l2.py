"""L2: what its server holds, and one instance's view of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from async_hybrid_cache import (
    CacheCleared,
    DistributedCacheError,
    EventLog,
    Hit,
    KeysRemoved,
    LogRefused,
    LogUnavailable,
    Miss,
    MsgpackSerializer,
    Position,
    ScopeCleared,
    Serializer,
)
from async_hybrid_cache.joint import JointAppend, L2Change, Leased

from .link import Link
from .log import SimulatedLog

__all__ = ["SharedStore", "SimulatedCache"]

T = TypeVar("T")
_Pair = tuple[str, str]
_Entry = tuple[bytes, Position, float]


class SharedStore:
    """L2 itself: entries and leases by scope and key."""

    def __init__(self) -> None:
        self.entries: dict[_Pair, _Entry] = {}
        self.leases: dict[_Pair, tuple[str, float]] = {}
        self.refused = 0
        self._tokens = 0
        self._deleted: dict[_Pair, _Entry] = {}
        self._watchers: dict[_Pair, dict[asyncio.Event, Link]] = {}

    def watch(self, pair: _Pair, changed: asyncio.Event, link: Link) -> None:
        """From now on `changed` is set, over `link`, when a lease of `pair` ends."""
        self._watchers.setdefault(pair, {})[changed] = link

    def unwatch(self, pair: _Pair, changed: asyncio.Event) -> None:
        """No longer."""
        self._watchers.get(pair, {}).pop(changed, None)

    def end_lease(self, pair: _Pair) -> None:
        """Nobody holds the lease any more, and who watches is told."""
        self.leases.pop(pair, None)
        for changed, link in self._watchers.get(pair, {}).items():
            link.tell(changed.set)

    def take(self, pair: _Pair, until: float) -> str:
        """A new lease, whoever had one before."""
        self.end_lease(pair)
        self._tokens += 1
        self.leases[pair] = f"t{self._tokens}", until
        return f"t{self._tokens}"

    def drop(self, pair: _Pair) -> None:
        """Delete the entry, and void the lease."""
        entry = self.entries.pop(pair, None)
        if entry is not None:
            self._deleted[pair] = entry
        self.end_lease(pair)

    def leased(self, pair: _Pair, token: str, now: float) -> bool:
        """Whether `token` is the live lease."""
        lease = self.leases.get(pair)
        return lease is not None and lease[0] == token and lease[1] > now

    def fail_over(self) -> None:
        """To a replica that had not heard of the newest deletes, and of leases never."""
        self.entries = {**self._deleted, **self.entries}
        self.leases.clear()


class SimulatedCache:
    """One instance's `DistributedCache` on the shared store. A delete fails with the chance `deletes_fail`.

    `with_log`: it is on the server of the log.
    """

    def __init__(self, store: SharedStore, link: Link, rng: random.Random, *, with_log: bool = False) -> None:
        self._store = store
        self._link = link
        self._rng = rng
        self.serializer: Serializer = MsgpackSerializer()
        self.deletes_fail = 0.0
        self._with_log = with_log

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        def serve() -> Hit | Miss:
            store, pair, now = self._store, (scope, key), _now()
            entry = store.entries.get(pair)
            if entry is not None and entry[2] > now and entry[1] >= oldest:
                return Hit(entry[0], entry[1], entry[2] - now)
            if entry is not None:
                store.drop(pair)
            held = max(0.0, store.leases.get(pair, ("", 0.0))[1] - now)
            free = lease_seconds > 0 and not held
            return Miss(store.take(pair, now + lease_seconds) if free else None, held)

        return await self._link.ask(serve)

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        def serve() -> str:
            self._store.drop((scope, key))
            return self._store.take((scope, key), _now() + lease_seconds)

        return await self._link.ask(self._perhaps(serve))

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        def serve() -> bool:
            store, pair, now = self._store, (scope, key), _now()
            if not store.leased(pair, token, now):
                store.refused += 1
                return False
            store.entries[pair] = data, stamp, now + ttl
            store.end_lease(pair)
            return True

        return await self._link.ask(serve)

    async def release(self, scope: str, key: str, *, token: str) -> None:
        def serve() -> None:
            if self._store.leased((scope, key), token, 0.0):
                self._store.end_lease((scope, key))

        await self._link.ask(serve)

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        def serve() -> None:
            for key in keys:
                self._store.drop((scope, key))

        await self._link.ask(self._perhaps(serve))

    async def clear(self, scope: str | None) -> None:
        await self._link.ask(self._perhaps(lambda: self._clear(scope)))

    def joined(self, log: EventLog) -> JointAppend | None:
        if not (self._with_log and isinstance(log, SimulatedLog)):
            return None

        async def append(record: bytes, id: str, changes: Sequence[L2Change]) -> Position:
            return await log.append_with(record, id, lambda: self.change(changes))

        return append

    def change(self, changes: Sequence[L2Change]) -> None:
        """What the server does with a record; where it fails after that, the record is not written."""
        for change in changes:
            match change:
                case KeysRemoved():
                    for key in change.keys:
                        self._store.drop((change.scope, key))
                case Leased():
                    for key in change.keys:
                        self._store.drop((change.scope, key))
                        self._store.leases[change.scope, key] = change.token, _now() + change.seconds
                case ScopeCleared():
                    self._clear(change.scope)
                case CacheCleared():
                    self._clear(None)
        if self._rng.random() < self.deletes_fail:
            refused = self._rng.random() < 0.2
            raise LogRefused("not in one step") if refused else LogUnavailable("the append failed")

    def _clear(self, scope: str | None) -> None:
        for pair in [*self._store.entries, *self._store.leases]:
            if scope is None or pair[0] == scope:
                self._store.drop(pair)

    @asynccontextmanager
    async def watch(self, scope: str, key: str) -> AsyncIterator[asyncio.Event]:
        changed = asyncio.Event()
        try:
            await self._link.ask(lambda: self._store.watch((scope, key), changed, self._link))
            yield changed
        finally:
            self._store.unwatch((scope, key), changed)

    def _perhaps(self, serve: Callable[[], T]) -> Callable[[], T]:
        def served() -> T:
            if self._rng.random() < self.deletes_fail:
                raise DistributedCacheError("the delete failed")
            return serve()

        return served


def _now() -> float:
    return asyncio.get_running_loop().time()
