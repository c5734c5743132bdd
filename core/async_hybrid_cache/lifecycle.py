"""Start, stop, and what runs in between; and where a cache may be used at all."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import weakref
from typing import Any

from async_hybrid_cache_codecs.events import Event

from .clock import Clock
from .errors import CacheClosed, LogUnavailable
from .exchange import note_acknowledged
from .journal import Recovered
from .late import Removal
from .loader import Loader
from .receipt import Receipt
from .scopes import Scopes
from .shared import SharedTier
from .snapshot import Snapshot
from .stream import InvalidationStream, Pending

__all__ = ["Lifecycle", "State"]

logger = logging.getLogger("async_hybrid_cache")

_START_SECONDS = 5.0
_STOP_SECONDS = 2.0
_SNAPSHOT_SECONDS = 5.0
_TICK_SECONDS = 0.5
_SWEEP_CHUNK = 1000


class State(enum.Enum):
    """Where a cache is in its life; the values tell users what to do."""

    NEW = "the cache has not been started"
    RUNNING = "the cache is running"
    STOPPED = "the cache is stopped; call start() to use it again"
    FORKED = (
        "the cache was started before this process forked, and its connections belong to the parent; "
        "build it at import time and call start() in each worker, after the fork"
    )
    ABANDONED = "the event loop that the cache was started in ended without stop(); call start() in this one"


class Lifecycle:
    """Runs the stream, L2 and a maintenance task between `start` and `stop`."""

    def __init__(
        self,
        scopes: Scopes,
        l2: SharedTier | None,
        stream: InvalidationStream | None,
        loader: Loader,
        snapshot: Snapshot | None,
        clock: Clock,
        require_bus: bool,
    ) -> None:
        self._scopes = scopes
        self._l2 = l2
        self._stream = stream
        self._loader = loader
        self._snapshot = snapshot
        self._clock = clock
        self._require_bus = require_bus
        self._loop: asyncio.AbstractEventLoop | None = None
        self._maintenance: asyncio.Task[Any] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._change: asyncio.Task[None] | None = None
        self.state = State.NEW
        self.changing = 0
        """Changes between their first step and their announcement."""
        _alive.add(self)

    def check(self) -> None:
        """Raise `CacheClosed`, saying what to do, where the cache cannot be used here and now."""
        if self.state is State.RUNNING:
            if asyncio.get_running_loop() is self._loop:
                return
            if not self._abandoned():
                raise CacheClosed(
                    "the cache was started in another event loop, which is still running; "
                    "use it there, or build a cache for each loop"
                )
        if self.state is not State.NEW:
            raise CacheClosed(self.state.value)

    async def start(self) -> None:
        """See `AsyncHybridCache.start`."""
        if self.state is State.FORKED:
            raise CacheClosed(self.state.value)
        await self._settled()
        if self.state is State.RUNNING:
            try:
                self.check()
                return
            except CacheClosed:
                if self.state is State.RUNNING:
                    raise
        if self.state is State.ABANDONED and self._stream:
            self._stream.detach()
        self.state = State.RUNNING
        self._loop = asyncio.get_running_loop()
        self._change = change = asyncio.create_task(self._connect(), name="async-hybrid-cache start")
        try:
            await asyncio.shield(change)
        except BaseException:
            change.cancel()
            await self.stop()
            raise

    async def stop(self) -> None:
        """See `AsyncHybridCache.stop`."""
        if self.state is not State.RUNNING or self._abandoned():
            await self._settled()
            return
        self.check()
        self.state = State.STOPPED
        # it goes on to its end where the caller gives up waiting: half a stop would leave two readers after a start
        self._change = asyncio.create_task(self._disconnect(self._change), name="async-hybrid-cache stop")
        await asyncio.shield(self._change)

    async def _settled(self) -> None:
        """Wait for a start or a stop under way."""
        change = self._change
        if change is not None and not change.done() and change.get_loop() is asyncio.get_running_loop():
            await asyncio.wait({change})

    async def _connect(self) -> None:
        if self._l2:
            await self._l2.open()
            self._l2.enabled = self._stream is None
        if self._stream and self._stream.journal:
            await self._redo(await self._stream.recover(self._stream.journal))
        if self._l2:
            # what was removed before the start waits in the outbox, and must be gone from L2 before it is announced
            await self._tend_l2()
        if self._stream:
            await self._warm_up(self._stream)
            failure = await self._stream.start(_START_SECONDS)
            if failure is not None and self._require_bus:
                raise LogUnavailable(
                    f"the invalidation log cannot be used: {failure}; "
                    "check its URL and server, or start without require_bus=True"
                ) from failure
            await asyncio.gather(*(subscription.start() for subscription in self._stream.subscriptions))
        self._maintenance = asyncio.create_task(self._maintain(), name="async-hybrid-cache maintenance")
        if self._snapshot and self._stream:
            snapshots = self._snapshot.run(self._stream.reader.position_to_keep)
            self._writing = asyncio.create_task(snapshots, name="async-hybrid-cache snapshots")

    async def _warm_up(self, stream: InvalidationStream) -> None:
        """Stage the snapshot, without what was changed since by this process."""
        stream.base = await self._snapshot.restore() if self._snapshot else None
        if self._scopes.staged:
            for event in stream.outbox.waiting():
                self._scopes.staged.apply(event, None, self._clock.monotonic())

    async def _redo(self, recovered: Recovered) -> None:
        """Changes that an ended process had begun; what waits to be told is stale here at once."""
        told = [event for frame in recovered.frames for event in frame.events]
        begun = [event for _, event in recovered.events]
        removals = [event for event in (*told, *begun) if isinstance(event, Removal)]
        for removal in removals:
            self._scopes.fence_event(removal)
        if self._l2:
            # in L2 nothing may have been done yet
            await asyncio.gather(*(self._l2.drop(removal) for removal in removals))
        for number, event in recovered.events:
            self._announce(event, number)

    def _announce(self, event: Event, note: int | None = None) -> None:
        if self._stream:
            self._stream.publish(event, note)

    async def _disconnect(self, starting: asyncio.Task[None] | None) -> None:
        if starting is not None and not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
        for task in (self._maintenance, self._writing):
            if task:
                task.cancel()
                await asyncio.wait({task})
        self._maintenance = self._writing = None
        await self._loader.stop(_STOP_SECONDS / 2)
        await self._last_changes()
        if self._snapshot and self._stream:
            await self._snapshot.write_last(self._stream.reader.position_to_keep(), _SNAPSHOT_SECONDS)
        # a barrier counts on nobody who has said goodbye
        self._scopes.fence_scopes(None)
        if self._stream:
            await asyncio.gather(*(subscription.stop() for subscription in self._stream.subscriptions))
            await self._stream.stop(_STOP_SECONDS)
        if self._l2:
            await self._l2.close()
        self._forget()

    async def _last_changes(self) -> None:
        """Let removals under way reach the outbox, and do what deletes in L2 are left."""
        assert self._loop is not None
        deadline = self._loop.time() + _STOP_SECONDS / 2
        while self.changing and self._loop.time() < deadline:  # noqa: ASYNC110 - a count, and only here
            await asyncio.sleep(0.01)
        if self._l2:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS / 2):
                    await self._l2.review(last=True)
                    if self._l2.late and not self._l2.breaker.is_open:
                        await self._l2.catch_up(self._announce)
        if self._l2 and (left := self._l2.late_deletes):
            logger.warning("stopped with %d deletes in L2 undone; those entries stay there until their TTL", left)

    async def receipt(self, pending: Pending | None) -> Receipt:
        """Wait until a change is acknowledged, unless the log is known to be away; what is queued is kept by then.

        Raises `LogUnavailable` where that is to be raised.
        """
        if pending is None or self._stream is None:
            return Receipt(None, False)
        if self._stream.writes:
            await pending.wait(self._stream.options.append_timeout_seconds)
        if pending.position is None and self._stream.options.on_log_failure == "raise":
            raise self._stream.refuse(pending)
        if pending.position is None and self._stream.journal:
            await self._stream.journal.kept()
        if pending.position is not None:
            note_acknowledged(pending.position)
        return Receipt(pending.position, pending.position is None)

    def _abandoned(self) -> bool:
        """Whether the loop of a running cache was closed under it."""
        if self._loop is None or not self._loop.is_closed():
            return False
        self.state = State.ABANDONED
        self._maintenance = self._writing = None
        self._forget()
        return True

    def _forget(self) -> None:
        # a cached function's hit path asks nobody, so what may not be served must not be there
        self._scopes.fence_scopes(None)
        if self._snapshot:
            self._snapshot.let_go()
        if self._l2:
            self._l2.connected = self._l2.enabled = False

    def _forked(self) -> None:
        if self.state is State.RUNNING:
            self.state = State.FORKED
            if self._stream and self._stream.journal:
                self._stream.journal.forked()
            self._forget()

    async def _maintain(self) -> None:
        loop = self._loop
        try:
            while True:
                await asyncio.sleep(_TICK_SECONDS)
                try:
                    await self._tend_l2()
                    await self._sweep()
                except Exception:
                    logger.exception("maintenance of the cache: unexpected error")
        finally:
            # a task may be let go of long after its loop, when another one is in use
            if self.state is State.RUNNING and self._loop is loop:
                self.state = State.ABANDONED
                self._forget()

    async def _tend_l2(self) -> None:
        l2 = self._l2
        if l2 is None:
            return
        if l2.breaker.is_open and not await l2.recover():
            return
        await l2.review()
        if l2.late:
            await l2.catch_up(self._announce)

    async def _sweep(self) -> None:
        for scope in self._scopes:
            # all of a store within about a minute, in steps that nobody notices
            left = scope.store.slots // 100 + 100
            while left > 0:
                scope.store.sweep(self._clock.monotonic(), min(left, _SWEEP_CHUNK))
                left -= _SWEEP_CHUNK
                await asyncio.sleep(0)


_alive: weakref.WeakSet[Lifecycle] = weakref.WeakSet()


def _after_fork() -> None:
    for lifecycle in list(_alive):
        lifecycle._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
