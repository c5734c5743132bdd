"""What changes entries everywhere: `set`, `remove`, `clear` and `invalidating`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

from async_hybrid_cache_codecs import Serializer
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysChanging, KeysRemoved, ScopeCleared

from .clock import Clock
from .errors import LogUnavailable
from .invalidating import Steps, around
from .joint import L2Change, Leased
from .late import Removal
from .lifecycle import Lifecycle
from .loader import Loader
from .options import EffectiveOptions
from .positions import Position
from .receipt import Receipt
from .scopes import Scope, Scopes
from .shared import SharedTier
from .stream import InvalidationStream, Pending
from .write import Write

__all__ = ["Writes"]

T = TypeVar("T")


class Writes:
    """The changes that `AsyncHybridCache` offers, with everything resolved."""

    def __init__(
        self,
        scopes: Scopes,
        l2: SharedTier | None,
        stream: InvalidationStream | None,
        stamp: Callable[[], Position],
        loader: Loader,
        lifecycle: Lifecycle,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._scopes = scopes
        self._l2 = l2
        self._stream = stream
        self._stamp = stamp
        self._loader = loader
        self._lifecycle = lifecycle
        self._monotonic = clock.monotonic
        self._rng = rng

    async def store(
        self, scope: Scope, key: str, value: Any, options: EffectiveOptions, serializer: Callable[[], Serializer]
    ) -> Receipt:
        """Delete in L2, append, put in L2 and L1 under the event's position."""
        began_at = self._monotonic()
        write = self._write(
            KeysRemoved(scope.name, (key,)),
            Leased(
                scope.name, (key,), f"{self._rng.getrandbits(128):032x}", self._l2.lease_seconds if self._l2 else 0.0
            ),
            lambda: self._scopes.fence_keys(scope.name, (key,)),
        )
        await write.begin()
        try:
            with scope.setting(key, self._stamp(), began_at) as setting:
                receipt = await write.receipt()
        except (LogUnavailable, asyncio.CancelledError):
            await self._give_back(scope, key, write.token)
            raise
        stamp = receipt.position or setting.stamp
        kept = not setting.fenced and self._scopes.may_set(scope.name, key, stamp)
        if kept:
            self._loader.keep(scope, key, value, options, stamp, began_at)
        token = write.token
        if not kept or options.ttl_seconds <= 0:
            await self._give_back(scope, key, token)
        elif token is not None and self._l2 is not None:
            ttl, may = options.ttl_seconds, partial(self._scopes.may_set, scope.name, key, stamp)
            await self._l2.fill(scope.name, key, value, serializer(), stamp=stamp, ttl=ttl, token=token, may=may)
        return receipt

    async def remove(self, scope: str, keys: tuple[str, ...]) -> Receipt:
        """Remove these entries."""
        return await self._remove(KeysRemoved(scope, keys), lambda: self._scopes.fence_keys(scope, keys))

    async def clear(self, scope: str | None) -> Receipt:
        """Remove every entry of `scope`, or (None) of all."""
        event = CacheCleared() if scope is None else ScopeCleared(scope)
        return await self._remove(event, lambda: self._scopes.fence_scopes(scope))

    def invalidating(
        self, scope: str, keys: tuple[str, ...], within_seconds: float
    ) -> AbstractAsyncContextManager[Receipt]:
        """Announce a change of these entries, and remove them after."""
        return around(Steps(self._scopes, self._rng, self._write, self._announce), scope, keys, within_seconds)

    async def _remove(self, event: Removal, fence: Callable[[], None]) -> Receipt:
        write = self._write(event, event, fence)
        await write.begin()
        return await write.receipt()

    async def _give_back(self, scope: Scope, key: str, token: str | None) -> None:
        # others wait for as long as it is live
        if token is not None and self._l2 is not None:
            await self._l2.release(scope.name, key, token)

    def _write(self, event: Removal | KeysChanging, change: L2Change, fence: Callable[[], None]) -> Write:
        return Write(self._lifecycle, self._l2, self._stream, event, change, fence)

    def _announce(self, event: Event) -> Pending | None:
        return self._stream.publish(event) if self._stream else None
