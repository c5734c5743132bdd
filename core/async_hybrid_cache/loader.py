"""Loads: one at a time a key, bounded in time, with the stale value where a loader fails."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from async_hybrid_cache_codecs import Serializer

from .cancellation import was_cancelled
from .clock import NEVER, Clock
from .copies import Copier, copier
from .distributed import Miss
from .elsewhere import Elsewhere
from .errors import LoaderTimeout, StaleError
from .loads import Load, reader, same, start
from .options import EffectiveOptions
from .positions import ORIGIN, Position
from .scopes import Scope, Scopes
from .shared import Found, SharedTier
from .staleness import Staleness

__all__ = ["MISSING", "Loader", "Loading"]

E = TypeVar("E", Exception, None)
logger = logging.getLogger("async_hybrid_cache")

MISSING: Any = object()
"""What a probe of L2 gives where there is nothing."""


class Loading:
    """What a caller brings: how to load, under which options, in which codec."""

    __slots__ = ("factory", "no_older_than", "options", "past_l2", "serializer")

    def __init__(
        self,
        factory: Callable[[], Awaitable[Any]] | None,
        options: EffectiveOptions,
        serializer: Callable[[], Serializer],
        past_l2: bool = False,
    ) -> None:
        self.factory = factory
        self.options = options
        self.serializer = serializer
        self.past_l2 = past_l2
        self.no_older_than: Position = ORIGIN
        """Where a value in L2 has to be stamped at least."""


class Loader:
    """Runs loads in tasks of their own. `stamp` tells where the instance stands, `l2` may be None."""

    def __init__(
        self,
        scopes: Scopes,
        l2: SharedTier | None,
        stamp: Callable[[], Position],
        staleness: Staleness,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._scopes = scopes
        self._l2 = l2
        self.elsewhere = Elsewhere(l2, scopes, staleness, clock) if l2 else None
        self._stamp = stamp
        self._staleness = staleness
        self._now = clock.monotonic
        self._rng = rng
        self._tasks: set[asyncio.Task[None]] = set()
        self._uncopyable: set[str] = set()
        self.loads = 0
        self.errors = 0
        self.timeouts = 0
        self.stale_served = 0
        self.fills_fenced = 0
        self.misses = 0

    async def get(self, scope: Scope, key: str, loading: Loading) -> Any:
        """The value: kept and vouched for anew, or from the load of `key` that is under way, or a new one."""
        entry = scope.store.entries.get(key)
        if entry is not None and (
            self._now() < entry.fresh_until or self._staleness.may_serve(scope.store, entry, loading.options)
        ):
            entry.used = scope.store.tick()
            return entry.read()
        self.misses += 1
        running = scope.loads if loading.factory is not None else scope.probes
        load = running.get(key)
        # one left behind by an event loop that is gone will never end
        if (
            load is None
            or load.task is None
            or load.task.get_loop() is not asyncio.get_running_loop()
            or (load.fenced and not self._scopes.changes.cover(scope.name, key))
        ):
            load = self._begin(scope, key, loading, running)
        elif load.overdue:
            stale = self._stale(scope, key, loading.options)
            if stale is not MISSING:
                return stale
        if self.elsewhere is not None and load.elsewhere is not None:
            entry = self.elsewhere.stand_in(scope, key, loading.options)
            if entry is not None:
                return entry.read()
        return load.result() if load.done else await load.wait()

    async def refresh(self, scope: Scope, key: str, loading: Loading) -> Any:
        """Begin a new load whatever is under way or kept; what was under way may fill nothing."""
        self._scopes.fenced += scope.fence(key)
        load = self._begin(scope, key, loading, scope.loads)
        return load.result() if load.done else await load.wait()

    async def get_past(self, scope: Scope, key: str, loading: Loading, position: Position) -> Any:
        """The value, past L1, from a load that began when `position` was acknowledged already."""
        self.misses += 1
        running = scope.loads if loading.factory is not None else scope.probes
        load = running.get(key)
        if load is None or max(load.stamp, load.no_older_than) < position:
            self._scopes.fenced += scope.fence(key)
            load = self._begin(scope, key, loading, running)
        load.no_older_than = max(load.no_older_than, position)
        return load.result() if load.done else await load.wait()

    async def stop(self, timeout: float) -> None:
        """Give the loads under way `timeout` seconds, then cancel them."""
        loop = asyncio.get_running_loop()
        # those of a loop that is gone will never end
        self._tasks = {task for task in self._tasks if task.get_loop() is loop}
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def _begin(self, scope: Scope, key: str, loading: Loading, running: dict[str, Load]) -> Load:
        load = running[key] = Load(self._stamp(), self._now())
        load.no_older_than = loading.no_older_than
        load.fenced = self._scopes.changes.cover(scope.name, key)
        task = start(self._run(scope, key, load, loading, running))
        if not task.done():
            load.task = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # a loader whose first step was done at once had no need of a timer so far
            if load.begun and not load.done:
                self._arm(scope, key, load, loading)
        return load

    async def _run(self, scope: Scope, key: str, load: Load, loading: Loading, running: dict[str, Load]) -> None:
        token: str | None = None
        try:
            if self._l2 is not None and self._l2.enabled:
                found = await self._ask_l2(self._l2, scope, key, load, loading)
                if self.elsewhere is not None and loading.factory is not None and self.elsewhere.holds(found):
                    ask = partial(self._ask_l2, self._l2, scope, key, load, loading)
                    found = await self.elsewhere.wait(scope, key, load, loading.options, ask)
                if isinstance(found, Found):
                    self._settle(scope, key, load, found.value, loading, running, found)
                    return
                token = found.token
            if loading.factory is None:
                refusal = self._refusal(scope, key, loading.options, None)
                load.succeed(MISSING, same) if refusal is None else load.fail(refusal)
                return
            self.loads += 1
            load.begun = True
            if load.task is not None:
                self._arm(scope, key, load, loading)
            value = await loading.factory()
            self._disarm(load)
            self._settle(scope, key, load, value, loading, running, None)
            if token is not None:
                await self._fill_l2(scope, key, load, value, loading, token)
        except Exception as error:
            self._failed(scope, key, load, loading, error)
            self._end(key, load, running)
            await self._give_back(scope, key, token)
        except BaseException as error:
            cancelled = LoaderTimeout(f"the load of {key!r} in scope {scope.name!r} was cancelled")
            if not isinstance(error, asyncio.CancelledError) or was_cancelled():
                load.fail(cancelled)
                self._end(key, load, running)
                if isinstance(error, asyncio.CancelledError):
                    await self._give_back(scope, key, token)
                raise
            # nobody cancelled the load: what it waited for was, and that is a failure like any other
            self._failed(scope, key, load, loading, cancelled)
            self._end(key, load, running)
            await self._give_back(scope, key, token)
        finally:
            self._end(key, load, running)

    def _disarm(self, load: Load) -> None:
        if load.timer is not None:
            load.timer.cancel()
            load.timer = None

    def _end(self, key: str, load: Load, running: dict[str, Load]) -> None:
        self._disarm(load)
        if running.get(key) is load:
            del running[key]

    async def _ask_l2(self, l2: SharedTier, scope: Scope, key: str, load: Load, loading: Loading) -> Found | Miss:
        if self._scopes.changes.cover(scope.name, key):
            return Miss(None)
        if loading.past_l2:
            return Miss(await l2.lease(scope.name, key))
        if loading.options.on_stale != "serve" and not self._staleness.within(loading.options):
            # what may have been removed there unheard cannot be told from what was not
            return Miss(None)
        tombstones = self._scopes.tombstones
        epoch = Position(load.stamp.epoch, 0)
        oldest = max(tombstones.newest(scope.name, key), epoch)
        wanted = loading.factory is not None and not load.fenced
        seconds = l2.lease_seconds_for(loading.options.hard_timeout_seconds) if wanted else 0.0
        found = await l2.get(scope.name, key, loading.serializer(), oldest, lease_seconds=seconds)
        if isinstance(found, Miss):
            return found
        if found.stamp < loading.no_older_than:
            return Miss(None)
        # an event may have arrived meanwhile, and an entry of another epoch cannot be compared with any
        if found.stamp.epoch != load.stamp.epoch or tombstones.newest(scope.name, key, found.tags) > found.stamp:
            l2.stale += 1
            return Miss(None)
        return found

    def _arm(self, scope: Scope, key: str, load: Load, loading: Loading) -> None:
        seconds = loading.options.hard_timeout_seconds
        if seconds is not None:
            loop = asyncio.get_running_loop()
            load.timer = loop.call_later(seconds, self._overdue, scope, key, load, loading)

    def _overdue(self, scope: Scope, key: str, load: Load, loading: Loading) -> None:
        # callers are released, the loader may go on for as long again, so that a slow source is cached at last
        seconds = loading.options.hard_timeout_seconds or 0.0
        if load.overdue:
            if load.task is not None:
                load.task.cancel()
            # a loader that swallows its cancellation must not keep those who come later
            load.fenced = True
            self._end(key, load, scope.loads)
            load.refuse(LoaderTimeout(f"the loader of {key!r} in scope {scope.name!r} had to be given up"))
            return
        load.overdue = True
        self.timeouts += 1
        self._arm(scope, key, load, loading)
        error = LoaderTimeout(f"the loader of {key!r} in scope {scope.name!r} took longer than {seconds:g} s")
        stale = self._stale(scope, key, loading.options) if load.waiters else MISSING
        if stale is MISSING:
            load.refuse(self._refusal(scope, key, loading.options, error))
        else:
            load.give(stale, reader(stale, loading.options))

    def _failed(self, scope: Scope, key: str, load: Load, loading: Loading, error: Exception) -> None:
        if isinstance(error, StopIteration):
            # no future takes one, as no coroutine lets one out
            error = RuntimeError("the loader raised StopIteration")
        if not _is_outage(error, loading.options):
            # an answer (not found, forbidden) is never hidden behind an older one
            if not load.fenced:
                scope.store.discard(key)
            load.fail(error)
            return
        self.errors += 1
        # of an overdue load nobody may be left to tell
        wanted = load.waiters or not load.overdue
        stale = self._stale(scope, key, loading.options) if wanted else MISSING
        if stale is MISSING:
            load.fail(self._refusal(scope, key, loading.options, error))
        else:
            logger.debug("a stale value stands in for %r in scope %r: %s", key, scope.name, error)
            load.succeed(stale, reader(stale, loading.options))

    def _stale(self, scope: Scope, key: str, options: EffectiveOptions) -> Any:
        """The stale value of `key`, fresh for the throttle from now on; MISSING where there is none to be had."""
        entry = scope.store.entries.get(key)
        now = self._now()
        if entry is None or now >= entry.stale_until or self._staleness.withholds(entry, options):
            return MISSING
        until = min(now + options.fail_safe_throttle_seconds, entry.stale_until)
        if scope.strict:
            until = min(until, self._staleness.known_at(entry.known_at) + scope.store.max_staleness)
        entry.fresh_until = max(entry.fresh_until, until)
        self.stale_served += 1
        return entry.read()

    def _refusal(self, scope: Scope, key: str, options: EffectiveOptions, error: E) -> E | StaleError:
        """What a caller is told where nothing stands in for a loader that failed with `error`, or is not there."""
        entry = scope.store.entries.get(key)
        if entry is None or not self._staleness.withholds(entry, options):
            return error
        if self._now() >= (entry.expires_at if error is None else entry.stale_until):
            return error
        refusal = StaleError(
            f"what is kept of {key!r} in scope {scope.name!r} may be older than {options.max_staleness_seconds:g} s, "
            "and nothing newer was to be had"
        )
        refusal.__cause__ = error
        return refusal

    def _settle(
        self,
        scope: Scope,
        key: str,
        load: Load,
        value: Any,
        loading: Loading,
        running: dict[str, Load],
        found: Found | None,
    ) -> None:
        """Fill L1 if nothing overtook the load, and give the value to those who wait."""
        stamp = load.stamp if found is None else found.stamp
        if self._scopes.may_keep(scope.name, key, stamp, load):
            began_at, remaining = (load.began_at, None) if found is None else (NEVER, found.remaining)
            self.keep(scope, key, value, loading.options, stamp, began_at, remaining)
        else:
            self.fills_fenced += 1
        if running.get(key) is load:
            del running[key]
        load.succeed(value, reader(value, loading.options))

    def keep(
        self,
        scope: Scope,
        key: str,
        value: Any,
        options: EffectiveOptions,
        stamp: Position,
        began_at: float,
        remaining: float | None = None,
    ) -> None:
        """Put a value, read from the source at `began_at` or later, into L1 for its TTL, or the rest of it in L2."""
        seconds = (
            self.ttl(options) if remaining is None else min(remaining, options.ttl_seconds + options.jitter_seconds)
        )
        if scope.store.max_keys == 0 or (seconds <= 0 and options.fail_safe_seconds <= 0):
            return
        now = self._now()
        kept, copy = self._own(scope, value) if options.copy_on_hit else (value, None)
        expires_at = now + seconds
        stale_until = expires_at + options.fail_safe_seconds
        scope.store.put(key, kept, copy, expires_at, stale_until, stamp, now, self._staleness.known_at(began_at))

    def ttl(self, options: EffectiveOptions) -> float:
        """Seconds that an entry is fresh, jitter included."""
        if not options.jitter_seconds:
            return options.ttl_seconds
        return options.ttl_seconds + self._rng.random() * options.jitter_seconds

    def _own(self, scope: Scope, value: Any) -> tuple[Any, Copier | None]:
        """A copy of the value that nobody else holds, and how to copy that for a caller."""
        copy = copier(value)
        if copy is None:
            return value, None
        try:
            return copy(value), copy
        except Exception as error:
            if scope.name not in self._uncopyable:
                self._uncopyable.add(scope.name)
                logger.warning(
                    "values of scope %r cannot be copied (%s): all callers share one object; "
                    "set copy_on_hit=False to say that this is meant",
                    scope.name,
                    error,
                )
            return value, None

    async def _fill_l2(self, scope: Scope, key: str, load: Load, value: Any, loading: Loading, token: str) -> None:
        assert self._l2 is not None
        ttl, may = loading.options.ttl_seconds, partial(self._scopes.may_keep, scope.name, key, load.stamp, load)
        if ttl > 0:
            codec = loading.serializer()
            await self._l2.fill(scope.name, key, value, codec, stamp=load.stamp, ttl=ttl, token=token, may=may)
        else:
            await self._give_back(scope, key, token)

    async def _give_back(self, scope: Scope, key: str, token: str | None) -> None:
        if token is not None and self._l2 is not None:
            await self._l2.release(scope.name, key, token)


def _is_outage(error: Exception, options: EffectiveOptions) -> bool:
    try:
        return options.fail_safe_on(error)
    except Exception:
        logger.exception("fail_safe_on raised; the error that it was to judge is taken for an outage")
        return True
