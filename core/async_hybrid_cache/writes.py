"""The order of steps for a change: the outbox where it is durable, L1, L2, L1 again, the log."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from async_hybrid_cache_codecs import Serializer
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysChanging, KeysRemoved, ScopeCleared

from .clock import Clock
from .errors import LogUnavailable
from .invalidating import Steps, around
from .late import Removal
from .lifecycle import Lifecycle
from .loader import Loader
from .options import EffectiveOptions
from .positions import Position
from .receipt import Receipt
from .scopes import Scope, Scopes
from .shared import SharedTier
from .stream import InvalidationStream, Pending

__all__ = ["Writes"]

T = TypeVar("T")


class Writes:
    """What changes entries everywhere: `set`, `remove`, `clear` and `invalidating` of `AsyncHybridCache`.

    L2 comes before the announcement, or another instance would read the old value back; and L1 again after L2, since
    a local read may have copied the old value between the two.
    """

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
        removed = KeysRemoved(scope.name, (key,))
        began_at = self._monotonic()
        token, pending = await self._change(
            removed,
            lambda: self._scopes.fence_keys(scope.name, (key,)),
            lambda l2: l2.lease(scope.name, key),
        )
        try:
            with scope.setting(key, self._stamp(), began_at) as setting:
                receipt = await self._lifecycle.receipt(pending)
        except (LogUnavailable, asyncio.CancelledError):
            await self._give_back(scope, key, token)
            raise
        stamp = receipt.position or setting.stamp
        kept = not setting.fenced and self._scopes.may_set(scope.name, key, stamp)
        if kept:
            self._loader.keep(scope, key, value, options, stamp, began_at)
        if not kept or options.ttl_seconds <= 0:
            await self._give_back(scope, key, token)
        elif token is not None and self._l2 is not None:
            await self._l2.fill(scope.name, key, value, serializer(), stamp=stamp, ttl=options.ttl_seconds, token=token)
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
        steps = Steps(self._scopes, self._rng, self._change, self._announce, self._lifecycle.receipt)
        return around(steps, scope, keys, within_seconds)

    async def _remove(self, event: Removal, fence: Callable[[], None]) -> Receipt:
        _, pending = await self._change(event, fence, lambda l2: l2.drop(event))
        return await self._lifecycle.receipt(pending)

    async def _change(
        self, event: Removal | KeysChanging, fence: Callable[[], None], in_l2: Callable[[SharedTier], Awaitable[T]]
    ) -> tuple[T | None, Pending | None]:
        """Note, fence L1, change L2, fence L1 again, announce; in this order, and the announcement whatever happens."""
        self._lifecycle.check()
        note = self._stream.note(event) if self._stream else None
        self._lifecycle.changing += 1
        result: T | None = None
        fence()
        try:
            result = await in_l2(self._l2) if self._l2 else None
        finally:
            # also where the caller was cancelled: the data may have changed, and the others must hear of it
            fence()
            pending = self._announce(event, note)
            self._lifecycle.changing -= 1
        return result, pending

    async def _give_back(self, scope: Scope, key: str, token: str | None) -> None:
        # others wait for as long as it is live
        if token is not None and self._l2 is not None:
            await self._l2.release(scope.name, key, token)

    def _announce(self, event: Event, note: int | None = None) -> Pending | None:
        return self._stream.publish(event, note) if self._stream else None
