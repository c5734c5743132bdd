"""Publishing only: a cron job, a script or a task that changes data tells the instances, without being one."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved, ScopeCleared, TagsInvalidated

from ..bus import InvalidationBus
from ..cached import checked_key
from ..clock import Clock, SystemClock
from ..config import Source, read_configuration
from ..distributed import DistributedCache
from ..errors import CacheClosed, ConfigurationError, DistributedCacheError
from ..plain import PlainDistributedCache, adapted
from ..receipt import Receipt
from ..registry import find_broker
from ..validation import checked_part, positive
from .remover import Remover
from .sender import Sender
from .sync import SyncInvalidationPublisher

__all__ = ["InvalidationPublisher"]

# closing what a parent process uses would disturb it, and so would collecting it
_of_parents: list[object] = []


class InvalidationPublisher:
    """Tells every cache instance what has changed, without being one: no entries, no reader, no subscription.

    Change the data first, then call. Each call deletes in L2, where there is one, appends the event to the log, and
    returns once that is acknowledged. Calls awaited one after the other keep their order; calls made at once leave in
    one record. Where an acknowledgement is lost, the same record is sent again under the same id.

    - `invalidation_bus`: the bus of the instances. Its log is created where it is missing; that does no harm.
    - `new_distributed_cache` (None): makes a handle on the L2 of the instances. Leave it out only where they have
      none, since they would read the old value back from it.
    - `name` (`publisher`): who publishes, for people who read the log.
    - `timeout_seconds` (5): what one call may take, connecting again and repeating included.
    - `clock` (None): time, for simulations.

    Use it with `async with`; it may be opened again, also in another event loop or after a fork. `sync()` is the same
    for code without an event loop. Raises `ConfigurationError` for an option that cannot be used.
    """

    def __init__(
        self,
        *,
        invalidation_bus: InvalidationBus,
        new_distributed_cache: Callable[[], DistributedCache | PlainDistributedCache | None] | None = None,
        name: str = "publisher",
        timeout_seconds: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        checked_part("invalidation_bus", invalidation_bus, InvalidationBus)
        if invalidation_bus is None:
            raise ConfigurationError("invalidation_bus is missing: without a log there is nobody to tell")
        if not isinstance(name, str) or not name:
            raise ConfigurationError("name must be text, and not empty")
        self.bus = invalidation_bus
        self._new_distributed_cache = new_distributed_cache
        self.name = name
        self.timeout_seconds = positive("timeout_seconds", timeout_seconds)
        self.clock = clock or SystemClock()
        self._sender: Sender | None = None
        self._remover: Remover | None = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None

    def __repr__(self) -> str:
        return f"InvalidationPublisher({self.bus!r})"

    @classmethod
    def from_url(
        cls, url: str, *, namespace: str = "ahc", name: str = "publisher", timeout_seconds: float = 5.0
    ) -> InvalidationPublisher:
        """A publisher to the log behind `url`, and to the L2 there where that kind of server has one.

        Give it what the instances give to `AsyncHybridCache.from_url`. Where their L2 is elsewhere, use `from_config`.
        """
        broker = find_broker(url)
        broker.distributed_cache(url, namespace=namespace)  # a URL that it cannot use is refused here
        return cls(
            invalidation_bus=broker.bus(url, namespace=namespace, stream=None),
            new_distributed_cache=lambda: broker.distributed_cache(url, namespace=namespace),
            name=name,
            timeout_seconds=timeout_seconds,
        )

    @classmethod
    def from_config(
        cls, source: Source = None, *, name: str = "publisher", timeout_seconds: float = 5.0
    ) -> InvalidationPublisher:
        """A publisher for the instances that `AsyncHybridCache.from_config(source)` makes: the same bus and L2."""
        config = read_configuration(source)
        if config.bus is None:
            raise ConfigurationError("bus is missing: without a log there is nobody to tell; name its URL")
        return cls(
            invalidation_bus=config.bus,
            new_distributed_cache=config.new_distributed_cache,
            name=name,
            timeout_seconds=timeout_seconds,
        )

    def new_l2(self) -> DistributedCache | None:
        """One more handle on the L2; None where there is none. Raises `ConfigurationError` for what cannot be one."""
        made = self._new_distributed_cache() if self._new_distributed_cache else None
        return adapted(made, self.clock, random.SystemRandom())

    def sync(self) -> SyncInvalidationPublisher:
        """The same for plain code: it runs an event loop in a thread of its own. Do not use this object as well."""
        return SyncInvalidationPublisher(self)

    # -- life ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect to the log and to L2, trying again for `timeout_seconds`; opening an open one does nothing.

        Raises `LogUnavailable`, `LogRefused` or `DistributedCacheError`: better before the data is changed than after.
        """
        if self._is_home():
            return
        self._leave_home()
        self._home = os.getpid(), asyncio.get_running_loop()
        try:
            cache = self.new_l2()
            if cache is not None:
                self._remover = Remover(cache, self.timeout_seconds / 4)
                await self._remover.open()
            await self._live_sender().connected(self.timeout_seconds)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of everything, in bounded time; what was not acknowledged was told to its caller. Never raises."""
        if not self._is_home():
            return
        sender, remover = self._sender, self._remover
        self._sender = self._remover = self._home = None
        if sender is not None:
            await sender.close()
        if remover is not None:
            await remover.close()

    async def __aenter__(self) -> InvalidationPublisher:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _is_home(self) -> bool:
        return self._home == (os.getpid(), asyncio.get_running_loop())

    def _leave_home(self) -> None:
        if self._home is None:
            return
        process, loop = self._home
        if process != os.getpid():
            _of_parents.append((loop, self._sender, self._remover))
        elif not loop.is_closed():
            raise CacheClosed("the publisher is open in another event loop; use it there, or make one for each loop")
        self._sender = self._remover = self._home = None

    def _live_sender(self) -> Sender:
        """The sender; a new one, with an origin of its own, where the log refused something of the last one."""
        if self._sender is None or not self._sender.alive:
            self._sender = Sender(self.bus, self.name, self.clock)
            self._sender.start()
        return self._sender

    # -- changes ---------------------------------------------------------------------------------------------

    async def remove(self, key: str, *more: str, scope: str = "default") -> Receipt:
        """These entries are gone, on every instance and in L2.

        Raises `LogUnavailable` where the log did not acknowledge in time: the fate of the event is unknown, and the
        call may be repeated. `LogRefused` where it never will. `DistributedCacheError` where the instances were told,
        but L2 could not be reached: repeat the call. All the calls below raise the same.
        """
        return await self._tell(KeysRemoved(checked_key(scope), tuple(checked_key(k) for k in (key, *more))))

    async def clear(self, *, scope: str | None = None) -> Receipt:
        """Every entry of `scope`, or of all scopes, is gone, on every instance and in L2."""
        return await self._tell(CacheCleared() if scope is None else ScopeCleared(checked_key(scope)))

    async def invalidate_tags(self, tag: str, *more: str) -> Receipt:
        """Every entry with one of these tags is gone."""
        return await self._tell(TagsInvalidated(tuple(checked_key(t) for t in (tag, *more))))

    async def _tell(self, event: Event) -> Receipt:
        """L2 first, the announcement after it and whatever happened: an instance would read the old value back."""
        if not self._is_home():
            raise CacheClosed("the publisher is not open in this event loop; use 'async with', or sync()")
        deadline = asyncio.get_running_loop().time() + self.timeout_seconds
        failure = await self._remover.drop(event, self.timeout_seconds / 2) if self._remover else None
        position = await self._live_sender().publish(event, deadline - asyncio.get_running_loop().time())
        if failure is not None:
            raise DistributedCacheError(
                f"announced at {position}, but L2 may still hold what it names ({failure}); repeat the call"
            ) from failure
        return Receipt(position, False)
