"""The producer of a publisher: frames in order, one append in flight, resent until their fate is known."""

from __future__ import annotations

import asyncio
import random

from async_hybrid_cache_codecs.events import Event

from ..bounded import bounded
from ..bus import InvalidationBus
from ..clock import Clock
from ..errors import CacheClosed, CacheError, LogRefused, LogUnavailable
from ..positions import Position
from ..stream.outbox import Outbox
from ..stream.supervisor import Link, supervise
from .origin import Origin

__all__ = ["Sender"]

_SESSION = "sender"


class Sender:
    """One log, from `start` to `close` or to a refusal, and one origin at a time.

    Group commit as in the stream's writer, without a reader: what waits while one append is in flight leaves with
    the next.
    """

    def __init__(self, bus: InvalidationBus, name: str, clock: Clock) -> None:
        self._log = bus.new_log()
        self._options = options = bus.stream_options
        self._clock = clock
        self._origin = Origin(name, clock, options.heartbeat_seconds)
        self._outbox = Outbox(options.outbox_max_events, options.frame_max_events, options.frame_max_bytes)
        self._link = Link(
            self._log, options, clock, random.SystemRandom(), label="publisher", on_trouble=self._end_where_refused
        )
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refusal: LogRefused | None = None

    @property
    def alive(self) -> bool:
        """Whether it still sends: it ends where the log refuses."""
        return self._task is not None and not self._task.done() and self._refusal is None

    def start(self) -> None:
        """Begin to connect, and to send what is published."""
        self._task = asyncio.create_task(self._run(), name="async-hybrid-cache publisher")

    async def connected(self, timeout: float) -> None:
        """Wait for the first connection; raises `LogRefused`, or `LogUnavailable` after `timeout` seconds."""
        assert self._task is not None
        connected = asyncio.ensure_future(self._connected.wait())
        try:
            await asyncio.wait({connected, self._task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connected.cancel()
        if not self._connected.is_set():
            raise self._failed(f"the log could not be reached within {timeout:g} s")

    async def publish(self, event: Event, timeout: float) -> Position:
        """Append `event` behind all that was published before; the position at which it was acknowledged."""
        if not self.alive:
            raise CacheClosed("the publisher was closed")
        if not len(self._outbox):
            self._origin.renew()
        pending = self._outbox.add(event)
        self._wake.set()
        position = await pending.wait(max(timeout, 0.0))
        if position is None:
            raise self._failed(
                "the log did not acknowledge in time; the event may have been appended, or may be yet: "
                "repeat the call, which does no harm"
            )
        return position

    async def close(self) -> None:
        """Send no more, and let go of the log in bounded time. Never raises."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _failed(self, told: str) -> CacheError:
        if self._refusal is not None:
            return self._refusal
        _, cause = self._link.troubles.get(_SESSION, (0.0, None))
        error = LogUnavailable(f"{told} ({cause or 'no answer'})")
        error.__cause__ = cause
        return error

    async def _run(self) -> None:
        try:
            await supervise(self._link, _SESSION, self._send)
        finally:
            # those who wait learn of it now, and the log is left to nobody
            self._outbox.away()
            await self._link.close(self._options.call_timeout_seconds)

    def _end_where_refused(self, session: str) -> None:
        _, error = self._link.troubles[session]
        if isinstance(error, LogRefused) and self._task is not None:
            self._refusal = error
            self._task.cancel()

    async def _send(self) -> None:
        epoch = (await bounded(self._log.bounds(), self._options.call_timeout_seconds)).epoch
        self._connected.set()
        while True:
            # cleared before looking, so that what is added while an append is under way is not slept through
            self._wake.clear()
            origin = self._origin
            frame = self._outbox.frame(epoch, origin.id, origin.sequence + 1, self._clock.time_ns())
            if frame is None:
                self._link.clear(_SESSION)
                await self._wake.wait()
                continue
            origin.sequence = frame.last
            position = await bounded(self._log.append(frame.data, frame.id), self._options.append_timeout_seconds)
            origin.spoke()
            self._link.clear(_SESSION)
            self._outbox.acknowledged(position)
