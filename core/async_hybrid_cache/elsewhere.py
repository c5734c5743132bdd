"""A cold key is loaded by one process: the others wait for what it puts into L2."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from .cancellation import was_cancelled
from .clock import Clock
from .distributed import Miss, Watchable
from .loads import Load, reader
from .offers import offers
from .options import EffectiveOptions
from .positions import ORIGIN
from .scopes import Scope, Scopes
from .shared import Found, SharedTier
from .staleness import Staleness
from .store import Entry

__all__ = ["Elsewhere"]

T = TypeVar("T")
logger = logging.getLogger("async_hybrid_cache")

# by how much a lease may outlast what was said of it, in rounding and on the way
_LATE_SECONDS = 0.02
_MOST_SILENT = 2


class Elsewhere:
    """Waits for the holder of a lease: until it fills, gives up or is overruled, and at most until its lease ends.

    Who takes over a lease that ended in silence, as that of a process that died, is waited for in turn, once. A lease
    that lasts longer than one to fill does is held by a change under way, and not waited for.
    """

    def __init__(self, l2: SharedTier, scopes: Scopes, staleness: Staleness, clock: Clock) -> None:
        self._l2 = l2
        self._scopes = scopes
        self._staleness = staleness
        self._now = clock.monotonic
        self._deaf = False
        self.stale_served = 0

    def holds(self, found: Found | Miss) -> bool:
        """Whether another process is loading what was not found."""
        return isinstance(found, Miss) and 0 < found.held_seconds <= self._l2.lease_seconds + _LATE_SECONDS

    def stand_in(self, scope: Scope, key: str, options: EffectiveOptions) -> Entry | None:
        """What is kept of `key` and may be served meanwhile: nothing failed, so its bound on staleness holds."""
        entry = scope.store.entries.get(key)
        if entry is None or self._now() >= entry.stale_until:
            return None
        within = options.on_stale == "serve" or self._staleness.within(options, entry.known_at)
        if not within or self._scopes.tombstones.newest(scope.name, key) > entry.stamp:
            return None
        self.stale_served += 1
        return entry

    async def wait(
        self, scope: Scope, key: str, load: Load, options: EffectiveOptions, ask: Callable[[], Awaitable[Found | Miss]]
    ) -> Found | Miss:
        """What `ask` gives once nobody holds the lease any more; a miss without one where that takes too long."""
        try:
            return await self._wait(scope, key, load, options, ask)
        finally:
            load.elsewhere = None

    async def _wait(
        self, scope: Scope, key: str, load: Load, options: EffectiveOptions, ask: Callable[[], Awaitable[Found | Miss]]
    ) -> Found | Miss:
        now = asyncio.get_running_loop().time
        deadline: float | None = None
        silent, waiting = 0, False
        while silent < _MOST_SILENT:
            async with self._watching(scope.name, key) as changed:
                if changed is None:
                    break
                # before it is asked: a change heard of meanwhile ends the wait as well
                load.elsewhere = changed
                found = await ask()
                if not isinstance(found, Miss) or not self.holds(found):
                    return found
                if not waiting:
                    waiting = True
                    self._l2.waits += 1
                    self._release(scope, key, load, options)
                if deadline is None:
                    deadline = now() + found.held_seconds
                try:
                    async with asyncio.timeout(min(found.held_seconds, deadline - now()) + _LATE_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    deadline, silent = None, silent + 1
            found = await ask()
            if not self.holds(found):
                return found
            if deadline is not None and now() >= deadline:
                break
        return Miss(None)

    def _release(self, scope: Scope, key: str, load: Load, options: EffectiveOptions) -> None:
        # who reads at a position may share this load, and not what was kept before it
        entry = self.stand_in(scope, key, options) if load.waiters and load.no_older_than == ORIGIN else None
        if entry is not None:
            value = entry.read()
            load.give(value, reader(value, options))

    @asynccontextmanager
    async def _watching(self, scope: str, key: str) -> AsyncIterator[asyncio.Event | None]:
        """What is set when the key has changed, or L2 is away; None where it cannot be watched."""
        cache, breaker = self._l2.cache, self._l2.breaker
        if not offers(cache, Watchable):
            yield None
            return
        watch = cache.watch(scope, key)
        changed = await self._tried(watch.__aenter__)
        if changed is None:
            self._l2.waits_failed += 1
            yield None
            return
        self._deaf = False
        breaker.listeners.add(changed.set)
        try:
            yield changed
        finally:
            breaker.listeners.discard(changed.set)
            await self._tried(partial(watch.__aexit__, None, None, None))

    async def _tried(self, step: Callable[[], Awaitable[T]]) -> T | None:
        try:
            async with asyncio.timeout(self._l2.timeout):
                return await step()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            self._tell(error)
            return None

    def _tell(self, error: BaseException) -> None:
        if not self._deaf:
            self._deaf = True
            logger.warning("the distributed cache cannot be watched (%s): every process loads cold keys itself", error)
