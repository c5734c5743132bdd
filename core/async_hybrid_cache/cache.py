"""The cache: its public face, and what it is made of."""

from __future__ import annotations

import inspect
import math
import os
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ParamSpec, TypeVar, overload

from async_hybrid_cache_codecs import MsgpackSerializer, Serializer

from .bus import InvalidationBus, StreamOptions
from .cached import CachedFunction, build, checked_key
from .clock import Clock, SystemClock
from .config import Source, read_configuration
from .distributed import DistributedCache
from .errors import ConfigurationError
from .fleet import Fleet, FleetMember
from .lifecycle import Lifecycle
from .loader import MISSING, Loader, Loading
from .options import CacheOptions, EffectiveOptions
from .plain import AdaptedCache, PlainDistributedCache, adapted
from .positioned import PositionedReads
from .positions import ORIGIN, Position
from .receipt import At, Receipt, position_of
from .registry import find_broker
from .report import report_health, report_stats
from .scoped import ScopedCache
from .scopes import Scope, Scopes
from .shared import SharedTier, typed
from .snapshot import Snapshot, checked_path
from .staleness import Staleness
from .stats import CacheStats, Health
from .stream import InvalidationStream
from .validation import checked_part, positive
from .writes import Writes

__all__ = ["DEFAULT_SCOPE", "AsyncHybridCache"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

DEFAULT_SCOPE = "default"


class AsyncHybridCache:
    """A cache in this process (L1), optionally shared through a server (L2) and kept true by an event stream.

    Build it at import time, `start` it in the event loop that uses it, `stop` it there (`async with` does both).
    Before `start` it serves from L1 and the loaders alone.

    - `distributed_cache`: the L2, which may be a `PlainDistributedCache`; None for none.
    - `invalidation_bus`: what tells the other instances of changes; None for a single process.
    - `options`: defaults of every scope and cached function.
    - `require_bus` (False): `start` raises where the log cannot be reached, instead of trying on in background.
    - `distributed_timeout_seconds` (0.5): what one call of L2 may take before L2 counts as away.
    - `lease_seconds` (10): how long a miss reserves the right to fill L2 at most, and so how long others wait for a
      process that died loading; never longer than a load may run, which is twice `hard_timeout_seconds`.
    - `snapshot` (None): the path under which L1 is kept over restarts, in one file a process; needs a bus.
    - `snapshot_seconds` (30): how often it is written, beside on stop.
    - `clock`, `rng`: time and randomness, for simulations.

    Raises `ConfigurationError` for an option that cannot be used.
    """

    def __init__(
        self,
        *,
        distributed_cache: DistributedCache | PlainDistributedCache | None = None,
        invalidation_bus: InvalidationBus | None = None,
        options: CacheOptions | None = None,
        require_bus: bool = False,
        distributed_timeout_seconds: float = 0.5,
        lease_seconds: float = 10.0,
        snapshot: str | os.PathLike[str] | None = None,
        snapshot_seconds: float = 30.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        checked_part("invalidation_bus", invalidation_bus, InvalidationBus)
        clock = clock or SystemClock()
        rng = rng or random.SystemRandom()
        cache = adapted(distributed_cache, clock, rng)
        timeout = positive("distributed_timeout_seconds", distributed_timeout_seconds)
        lease = positive("lease_seconds", lease_seconds)
        self.monotonic = clock.monotonic
        self._options = EffectiveOptions().override(options)
        self._scopes = Scopes(clock, self._attached)
        self._stream = InvalidationStream(invalidation_bus, self._scopes, clock, rng) if invalidation_bus else None
        journal, unsaid = (self._stream.journal, self._stream.outbox.unsaid) if self._stream else (None, None)
        heard = self._stream.heard if self._stream else None
        self._l2 = SharedTier(cache, clock, timeout, lease, journal, unsaid, heard) if cache else None
        if isinstance(cache, AdaptedCache):
            self._scopes.on_event = cache.heard
        if self._stream and cache:
            self._stream.join(cache)
        self._staleness = Staleness(clock.monotonic, lambda: self._stream.caught_up_at if self._stream else math.inf)
        self._loader = Loader(self._scopes, self._l2, self._stamp, self._staleness, clock, rng)
        self._fleet = Fleet(self._stream)
        if self._stream:
            self._stream.abide_by(self._options.staleness_bound)
        self._positioned = PositionedReads(self._loader, self._stream)
        self._serializer: Serializer = cache.serializer if cache else MsgpackSerializer()
        every = positive("snapshot_seconds", snapshot_seconds)
        kept_at = checked_path(snapshot, invalidation_bus)
        self._snapshot = (
            None if kept_at is None else Snapshot(kept_at, every, self._scopes, self._serializer, self._options, clock)
        )
        self._lifecycle = Lifecycle(
            self._scopes, self._l2, self._stream, self._loader, self._snapshot, clock, require_bus
        )
        self.writes = Writes(
            self._scopes, self._l2, self._stream, self._stamp, self._loader, self._lifecycle, clock, rng
        )

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        options: CacheOptions | None = None,
        stream: StreamOptions | None = None,
        namespace: str = "ahc",
        **arguments: Any,
    ) -> AsyncHybridCache:
        """A cache whose log, and L2 where that kind of server has one, are both behind `url`.

        `namespace` separates applications that share a server, `stream` says how the log is followed. Further
        arguments are the constructor's.
        """
        broker = find_broker(url)
        return cls(
            distributed_cache=broker.distributed_cache(url, namespace=namespace),
            invalidation_bus=broker.bus(url, namespace=namespace, stream=stream),
            options=options,
            **arguments,
        )

    @classmethod
    def from_config(
        cls, source: Source = None, *, clock: Clock | None = None, rng: random.Random | None = None
    ) -> AsyncHybridCache:
        """A cache as a TOML file, a mapping or (None) the environment describes it.

        `ASYNC_HYBRID_CACHE_BUS`, `..._OPTIONS__TTL_SECONDS` and so on override what a file says; a mapping is taken
        as it is. Raises one `ConfigurationError` that names everything that is wrong, and where.
        """
        config = read_configuration(source)
        cache = cls(
            distributed_cache=config.new_distributed_cache(),
            invalidation_bus=config.bus,
            options=config.options,
            clock=clock,
            rng=rng,
            **config.others,
        )
        for name, options in config.scopes.items():
            cache.scope(name, options=options)
        return cache

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect. Returns once the log is followed, or known to be away (then it is retried in background).

        Raises `LogUnavailable` in that case with `require_bus=True`, and `CacheClosed` where the cache was
        started in another event loop or before a fork. Starting a started cache does nothing.
        """
        await self._lifecycle.start()

    async def stop(self) -> None:
        """Send what waits and let go of everything, within about 5 seconds, and 5 more where a snapshot is large.

        Stopping twice does nothing.
        """
        await self._lifecycle.stop()

    async def __aenter__(self) -> AsyncHybridCache:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # -- reads -----------------------------------------------------------------------------------------------

    async def get(self, key: str, default: Any = None, *, scope: str = DEFAULT_SCOPE, at_least: At = None) -> Any:
        """The value of `key` in L1 or L2, else `default`. Loads nothing; stale values are not returned.

        `at_least` (None): a position; what is returned holds every change up to it.
        """
        state = self.scope_state(scope)
        entry = state.store.entries.get(checked_key(key))
        if at_least is None and entry is not None and self.monotonic() < entry.fresh_until:
            entry.used = state.store.tick()
            return entry.read()
        self._lifecycle.check()
        loading = Loading(None, state.options, self._untyped)
        value = await self._positioned.read(state, key, loading, position_of(at_least))
        return default if value is MISSING else value

    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Awaitable[T]],
        *,
        scope: str = DEFAULT_SCOPE,
        options: CacheOptions | None = None,
        at_least: At = None,
    ) -> T:
        """The value of `key`, from L1, L2 or `await factory()`; that load is shared by all who ask meanwhile.

        `at_least` (None): a position; what is returned holds every change up to it.
        """
        state = self.scope_state(scope)
        if isinstance(options, CacheOptions) and options.bounds_staleness:
            self.abide(state, state.options_of_call(options))
        entry = state.store.entries.get(checked_key(key))
        if at_least is None and entry is not None and self.monotonic() < entry.fresh_until:
            entry.used = state.store.tick()
            return entry.read()  # type: ignore[no-any-return]
        effective = state.options_of_call(options)
        return await self.load(state, key, factory, effective, self._untyped, position_of(at_least))  # type: ignore[no-any-return]

    def load(
        self,
        scope: Scope,
        key: str,
        factory: Callable[[], Awaitable[Any]],
        options: EffectiveOptions,
        serializer: Callable[[], Serializer],
        position: Position | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """What `get_or_set` does on a miss, with everything resolved; where cached functions come on a miss."""
        self._lifecycle.check()
        return self._positioned.read(scope, checked_key(key), Loading(factory, options, serializer), position)

    async def refresh(
        self,
        scope: Scope,
        key: str,
        factory: Callable[[], Awaitable[Any]],
        options: EffectiveOptions,
        serializer: Callable[[], Serializer],
    ) -> Any:
        """Load anew, past what is kept, and keep the result in L1 and L2."""
        self._lifecycle.check()
        return await self._loader.refresh(scope, key, Loading(factory, options, serializer, past_l2=True))

    # -- changes ---------------------------------------------------------------------------------------------

    async def set(
        self, key: str, value: Any, *, scope: str = DEFAULT_SCOPE, options: CacheOptions | None = None
    ) -> Receipt:
        """Keep `value` here and in L2, and tell the other instances that theirs is old; raises as `remove` does."""
        state = self.scope_state(scope)
        return await self.writes.store(state, checked_key(key), value, state.options_of_call(options), self._untyped)

    async def remove(self, key: str, *more: str, scope: str = DEFAULT_SCOPE) -> Receipt:
        """Remove entries from L1 and L2, and tell the other instances.

        With `on_log_failure="raise"`, `LogUnavailable` says that the log did not acknowledge in time, and that the
        others may not hear of it: repeat the call.
        """
        return await self.writes.remove(scope, tuple(checked_key(k) for k in (key, *more)))

    def invalidating(
        self, key: str, *more: str, scope: str = DEFAULT_SCOPE, within_seconds: float = 30.0
    ) -> AbstractAsyncContextManager[Receipt]:
        """Around a change of the data: tell of it before, and `remove` the entries after, however the block ends.

        Until then, or for `within_seconds` (at most 600) where this process dies, every instance loads these keys and
        keeps none of them. So a change that is committed within that time of entering leaves nobody stale, except where
        the announcement's receipt, which the block is given, is `queued`.
        """
        return self.writes.invalidating(checked_key(scope), tuple(checked_key(k) for k in (key, *more)), within_seconds)

    async def clear(self, *, scope: str | None = None) -> Receipt:
        """Remove every entry of `scope`, or of all scopes, from L1 and L2, and tell the other instances."""
        return await self.writes.clear(scope)

    async def remove_local(self, key: str, *, scope: str = DEFAULT_SCOPE) -> None:
        """Drop an entry from L1 of this process alone."""
        self._scopes.fence_keys(scope, (checked_key(key),))

    async def clear_memory(self, *, scope: str | None = None) -> None:
        """Drop the entries of `scope`, or of all scopes, from L1 of this process alone."""
        self._scopes.fence_scopes(scope)

    async def barrier(self, at: At, *, timeout: float = 15.0) -> None:
        """Return once no instance serves anything from before `at`: each has applied it, or is past its own bound.

        Raises `BarrierTimeout`, naming the instances, after `timeout` seconds, and `LogUnavailable` for a change that
        is still queued.
        """
        await self._fleet.barrier(position_of(at), positive("timeout", timeout))

    async def fleet(self) -> tuple[FleetMember, ...]:
        """This instance and all others on its log, asked now; empty without a bus."""
        return await self._fleet.members()

    # -- scopes and functions --------------------------------------------------------------------------------

    def scope(self, name: str, *, options: CacheOptions | None = None) -> ScopedCache:
        """The same cache with `scope=name` everywhere, and options of its own."""
        self.scope_state(name, options)
        return ScopedCache(self, name)

    @overload
    def cached(self, key: Callable[P, Coroutine[Any, Any, R]], /) -> CachedFunction[P, R]: ...
    @overload
    def cached(
        self,
        key: str | Callable[..., str] | None = None,
        *,
        scope: str | None = None,
        options: CacheOptions | None = None,
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], CachedFunction[P, R]]: ...
    def cached(
        self,
        key: Any = None,
        *,
        scope: str | None = None,
        options: CacheOptions | None = None,
    ) -> Any:
        """Cache a coroutine function.

        `key` is a function of the arguments (or of some of them, by name), a template such as
        `"user:{user_id}"`, a literal such as `"settings"`, or left out: then it is built from the arguments.
        `scope` is the function's module and qualified name unless given.
        """
        if inspect.iscoroutinefunction(key):
            return build(self, key, None, scope, options)
        if not (key is None or isinstance(key, str) or callable(key)):
            raise ConfigurationError(f"key must be a template, a function or left out, not {key!r}")
        made: Any = key
        return lambda function: build(self, function, made, scope, options)

    # -- report ----------------------------------------------------------------------------------------------

    def stats(self) -> CacheStats:
        """Everything counted so far."""
        return report_stats(self._scopes, self._loader, self._staleness, self._l2, self._stream, self._snapshot)

    def health(self) -> Health:
        """Whether everything that was configured works, and since when not."""
        return report_health(self._lifecycle, self._options, self._l2, self._stream)

    # -- for the parts ---------------------------------------------------------------------------------------

    def scope_state(self, name: str, options: CacheOptions | None = None) -> Scope:
        """The scope of that name, with `options` of its own where they are given."""
        state = self._scopes.get(name, self._options)
        if options is not None:
            state.adopt(options)
            self.abide(state, state.options)
        return state

    def abide(self, scope: Scope, options: EffectiveOptions) -> None:
        """Reads in `scope` under `options` are to be expected: judge by their bound, and prove often enough for it."""
        scope.abide(options)
        if self._stream:
            self._stream.abide_by(options.staleness_bound)

    def serializer_for(self, annotation: Any) -> Serializer:
        """The serializer of L2 and snapshot, bound to a type where it can be."""
        return typed(self._serializer, annotation)

    def _untyped(self) -> Serializer:
        return self._serializer

    def _stamp(self) -> Position:
        return self._stream.stamp if self._stream else ORIGIN

    def _attached(self) -> None:
        if self._l2:
            self._l2.enabled = True
