"""The invalidation stream: appends what this instance says, and applies what all of them said, in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Any, Protocol

from async_hybrid_cache_codecs.events import Event, InstanceStarted, InstanceStopped

from ..bus import InvalidationBus
from ..checkpoint import Checkpoint
from ..clock import Clock
from ..errors import LogUnavailable
from ..positions import ORIGIN, Position
from .outbox import Outbox, Pending
from .reader import Reader
from .supervisor import Link, supervise
from .writer import Writer

__all__ = ["InvalidationStream", "StreamListener"]

logger = logging.getLogger("async_hybrid_cache")


class StreamListener(Protocol):
    """What the stream tells the cache. Every call is made in the event loop and does not wait."""

    def replaying(self, floor: Position) -> None:
        """The log is about to be replayed from just after `floor`, to learn what was invalidated lately."""
        ...

    def apply(self, event: Event, position: Position) -> None:
        """`event` is acknowledged at `position`: what it names is stale if stamped before that."""
        ...

    def attach(self, position: Position) -> None:
        """The log was replayed up to `position`; from here on every event will be applied."""
        ...

    def reset(self, position: Position, reason: str) -> None:
        """Events before `position` may have been missed: nothing kept so far can be trusted."""
        ...


class InvalidationStream:
    """Runs one log for one instance: group commit, outbox, tail, replay, proofs, checkpoints, reconnecting.

    Works the same on every `EventLog`. Nothing here raises into the cache: whatever goes wrong is counted,
    logged once per change of state and tried again with capped, jittered backoff.
    """

    def __init__(self, bus: InvalidationBus, listener: StreamListener, clock: Clock, rng: random.Random) -> None:
        self.log = bus.new_log()
        self.options = options = bus.stream_options
        self.listener = listener
        self.clock = clock
        self.rng = rng
        self.outbox = Outbox(options.outbox_max_events, options.frame_max_events, options.frame_max_bytes)
        self.instance = ""
        self.origin = ""
        self.stamp: Position = ORIGIN
        """The position up to which a load that begins now is known to see every change."""
        self.attached = False
        self.link = Link(self)
        self.reader = Reader(self)
        self.writer = Writer(self)
        self._tasks: list[asyncio.Task[Any]] = []
        self._attached = asyncio.Event()
        self._saved: Position | None = None

    def publish(self, event: Event) -> Pending:
        """Queue `event` for the log. Never waits and never fails; the writer sends it as soon as it can."""
        pending = self.outbox.add(event)
        self.writer.wake()
        return pending

    async def start(self, timeout: float) -> BaseException | None:
        """Begin to run; return None once attached, else after the first failure (or `timeout`) why not yet."""
        self.instance = self.options.instance_id or f"{self.rng.getrandbits(48):012x}"
        self.origin = f"{self.instance}-{self.rng.getrandbits(64):016x}"
        self._attached = asyncio.Event()
        self.reader.checkpoint = await self._open_checkpoints()
        self.writer.begin()
        self.started = self.outbox.add_first(InstanceStarted(self.instance))
        failed: asyncio.Future[Any] = self.link.expect_failure()
        for name, session in (("reader", self.reader.run), ("writer", self.writer.run)):
            self._tasks.append(asyncio.create_task(supervise(self, name, session), name=f"async-hybrid-cache {name}"))
        self._tasks.append(asyncio.create_task(self._keep_checkpoints(), name="async-hybrid-cache checkpoints"))
        waiting: asyncio.Future[Any] = asyncio.ensure_future(self._attached.wait())
        try:
            await asyncio.wait({waiting, failed}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self.attached:
            return None
        return failed.result() if failed.done() else LogUnavailable(f"the log did not answer within {timeout} s")

    async def stop(self, timeout: float) -> None:
        """Send what waits, say goodbye, keep the position, let go of the log; within about `timeout` seconds."""
        if self.attached and self.link.down_since is None:
            goodbye = self.publish(InstanceStopped(self.instance))
            await goodbye.wait(timeout / 2)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if left := len(self.outbox):
            logger.warning(
                "stopped with %d invalidations unsent; other instances keep those entries until their TTL",
                left,
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout / 2):
                await self._save_checkpoint()
                if self.options.checkpoints:
                    await self.options.checkpoints.close()
        await self.link.close(timeout / 2)
        self.detach()

    def detach(self) -> None:
        """Forget everything that is bound to an event loop; what waits in the outbox is kept."""
        self.attached = False
        self.stamp = ORIGIN
        self._tasks.clear()
        self.outbox.unseal()
        self.link = Link(self)
        self.reader = Reader(self)
        self.writer = Writer(self)
        self._saved = None

    def advance(self, position: Position) -> None:
        """Applied or acknowledged up to `position`; called after its effects are in place."""
        if position > self.stamp:
            self.stamp = position

    def restamp(self, head: Position) -> None:
        """The log was found changed, and `head` is where it ends now: older stamps mean nothing any more."""
        self.stamp = max(head, self.stamp) if self.stamp.epoch == head.epoch else head

    def attach(self, position: Position) -> None:
        """The reader has replayed the log up to `position`."""
        self.stamp = position
        self.attached = True
        self.listener.attach(position)
        self._attached.set()

    async def _open_checkpoints(self) -> Checkpoint | None:
        if self.options.checkpoints is None:
            return None
        try:
            return await self.options.checkpoints.open(self.instance)
        except Exception as error:
            logger.warning("no checkpoint can be kept for %s: %s", self.instance, error)
            return None

    async def _keep_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(self.options.checkpoint_seconds)
            try:
                await self._save_checkpoint()
            except Exception as error:
                self.link.note("checkpoint", error)
            else:
                self.link.clear("checkpoint")

    async def _save_checkpoint(self) -> None:
        checkpoint = self.reader.position_to_keep()
        if self.options.checkpoints is None or checkpoint is None:
            return
        position = Position(checkpoint.epoch, checkpoint.offset)
        if position != self._saved:
            await self.options.checkpoints.save(checkpoint)
            self._saved = position
