"""The producer: what waits in the outbox goes out as sealed frames, one append in flight at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from async_hybrid_cache_codecs.frames import SealedFrame

from ..bounded import bounded
from ..errors import LogRefused, PositionLost
from ..joint import Joint, L2Change
from ..positions import ORIGIN, Position

if TYPE_CHECKING:
    from .stream import InvalidationStream

__all__ = ["Writer"]


class Writer:
    """Group commit without a timer: everything published while one append is in flight leaves with the next."""

    def __init__(self, stream: InvalidationStream) -> None:
        self._stream = stream
        self._wake = asyncio.Event()
        self._sequence = 0
        self._known: Position = ORIGIN
        self._asked = False
        self._leaving = False
        self.acknowledged: Position = ORIGIN
        self.acknowledged_id = ""
        self.appended = 0

    def begin(self) -> None:
        """A new origin: its sequences start at 1."""
        self._sequence = 0
        self._leaving = False
        self.acknowledged, self.acknowledged_id = ORIGIN, ""

    def wake(self) -> None:
        """There is something in the outbox."""
        self._wake.set()

    def answer(self) -> None:
        """Say how far this instance has come with the next frame, once for all who have asked by then."""
        self._asked = True
        self._wake.set()

    def leave(self) -> None:
        """Goodbye comes next: no sign of life may follow it."""
        self._leaving = True

    async def run(self) -> None:
        """Append frames until something fails; called again after that."""
        stream = self._stream
        epoch = (await bounded(stream.log.bounds(), stream.options.call_timeout_seconds)).epoch
        while True:
            # cleared before looking, so that what is added while an append is under way is not slept through
            self._wake.clear()
            if self._asked and stream.attached:
                self._asked = False
                self._show_life()
            frame = stream.outbox.frame(epoch, stream.origin, self._sequence + 1, stream.clock.time_ns())
            if frame is None:
                await self._idle()
                continue
            if stream.journal:
                await stream.journal.kept()
            if frame.id.startswith(f"{stream.origin}:"):
                if frame.last > self._sequence:
                    self._sequence, self._known = frame.last, max(stream.reader.applied, self.acknowledged)
                epoch = (await self._append(frame, self._known)).epoch
            else:
                await self._append(frame, ORIGIN)  # what an earlier process left may have been in the log for long
            stream.link.clear("writer")

    async def _append(self, frame: SealedFrame, known: Position) -> Position:
        """Append `frame`, which was sealed when the log was known to hold everything up to `known`."""
        stream = self._stream
        joint = stream.joint
        changes = stream.outbox.changes() if joint and not joint.refused else []
        if joint and changes:
            position = await self._append_jointly(joint, frame, changes)
        else:
            position = await bounded(stream.log.append(frame.data, frame.id), stream.options.append_timeout_seconds)
        if position <= known:
            await self._forgot(position)
        # an acknowledgement does what the echo would do, at once, and before the stamp of new loads moves on
        if stream.attached:
            for event in frame.events:
                stream.listener.apply(event, position)
            stream.advance(position)
        self.appended += len(frame.events)
        self.acknowledged, self.acknowledged_id = position, frame.id
        stream.outbox.acknowledged(position, changed=bool(changes))
        return position

    async def _forgot(self, position: Position) -> NoReturn:
        """The log gave a place that was taken: it lost its end, and whoever read that would take this for read."""
        stream = self._stream
        await bounded(stream.log.renew(position.epoch), stream.options.call_timeout_seconds)
        raise PositionLost(f"the log acknowledged {position}, where another record had been: it lost its end")

    async def _append_jointly(self, joint: Joint, frame: SealedFrame, changes: list[L2Change]) -> Position:
        seconds = self._stream.options.append_timeout_seconds
        try:
            return await bounded(joint.append(frame.data, frame.id, changes), seconds)
        except LogRefused as error:
            joint.refuse(error)
            raise

    async def _idle(self) -> None:
        stream = self._stream
        stream.link.clear("writer")
        seconds = stream.roster.heartbeat_seconds * (0.75 + stream.rng.random() / 2)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            if stream.attached:
                self._show_life()

    def _show_life(self) -> None:
        if not self._leaving:
            self._stream.outbox.add(self._stream.sign_of_life())
