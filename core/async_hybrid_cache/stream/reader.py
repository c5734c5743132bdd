"""The consumer: recognises the log, replays what was missed, follows the tail, and proves that nothing is missing."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import TYPE_CHECKING

from async_hybrid_cache_codecs.errors import DecodeError
from async_hybrid_cache_codecs.events import InstanceStarted, Unknown
from async_hybrid_cache_codecs.frames import OpenedFrame, open_frame

from ..checkpoint import Checkpoint
from ..errors import LogUnavailable, PositionLost
from ..positions import ORIGIN, Bounds, Position, Record
from .marks import Marks, Verdict

if TYPE_CHECKING:
    from .stream import InvalidationStream

__all__ = ["Loss", "Reader"]

logger = logging.getLogger("async_hybrid_cache")

_READ_LIMIT = 1000
_HEARTBEATS_TO_MEET_EVERYBODY = 3


class Loss(Enum):
    """How a log can fail to hold what an instance has yet to read."""

    EPOCH = "the log has another epoch"
    TRIMMED = "the log was trimmed past this instance"
    TAIL = "the log lost its tail"
    REUSED = "the log lost its tail and reused its positions"


class Reader:
    """Reads the log in order from its own position, and takes nothing about it on trust.

    Whenever it (re)connects, and at least every `proof_seconds`, it asks for epoch and head and reads its last
    applied record again: the same record there means that everything between was kept. Where that fails the
    stream can prove nothing and says so, by resetting L1 and going on from the head.
    """

    def __init__(self, stream: InvalidationStream) -> None:
        self._stream = stream
        self._marks = Marks()
        self._anchor_id = ""
        self._anchored_at = 0.0
        self._proved_at = 0.0
        self.checkpoint: Checkpoint | None = None
        self.applied: Position = ORIGIN
        self.lag = 0
        self.events = 0
        self.replayed = 0
        self.duplicates = 0
        self.unknown = 0
        self.undecodable = 0
        self.gaps = 0
        self.last_gap: str | None = None

    def position_to_keep(self) -> Checkpoint | None:
        """What a checkpoint written now would say; None before the stream is attached."""
        if not self._stream.attached:
            return None
        epoch, offset = self.applied
        return Checkpoint(epoch, offset, self._anchor_id, self._marks.dump())

    async def run(self) -> None:
        """Follow the log until something fails; called again after that."""
        if self._stream.attached:
            await self._prove()
            self.replayed += self.lag
        else:
            await self._anchor()
        self._stream.link.clear("reader")
        while True:
            await self._follow()

    async def _follow(self) -> None:
        stream = self._stream
        wait = self._proved_at + stream.options.proof_seconds - stream.clock.monotonic()
        if wait <= 0:
            await self._prove()
            stream.link.clear("reader")
            return
        records = await self._read(Position(self.applied.epoch, self.applied.offset + 1), wait)
        self._apply_all(records)
        self.lag = max(0, self.lag - len(records))
        # a backlog arrives without a wait; whoever else runs in this loop gets a turn between its chunks
        await asyncio.sleep(0)

    async def _bounds(self) -> Bounds:
        stream = self._stream
        return await stream.link.bounded(stream.log.bounds(), stream.options.call_timeout_seconds)

    async def _read(self, start: Position, wait: float = 0.0, limit: int = _READ_LIMIT) -> list[Record]:
        stream = self._stream
        call = stream.log.read(start, limit, wait)
        return list(await stream.link.bounded(call, wait + stream.options.call_timeout_seconds))

    # -- finding one's place ---------------------------------------------------------------------------------

    async def _anchor(self) -> None:
        """Replay the recent log, and what was missed since the checkpoint, then attach."""
        stream = self._stream
        bounds = await self._bounds()
        kept = self.checkpoint
        if kept is not None and await self._lost(bounds, Position(kept.epoch, kept.offset), kept.record_id):
            self._count_gap("the log was trimmed or replaced since the checkpoint")
            self.checkpoint = kept = None
        # an own acknowledged record proves that this head is the log's and not the past of a deposed leader
        started = await self._own_start(bounds)
        begin = max(bounds.first, started.offset - stream.options.replay_records)
        since = kept.offset if kept else started.offset
        if kept and kept.offset + 1 >= bounds.first:
            begin = min(begin, kept.offset + 1)
        self._marks.load(kept.marks if kept else {})
        self._anchored_at = stream.clock.monotonic()
        self.applied = Position(bounds.epoch, begin - 1)
        self._anchor_id = ""
        stream.listener.replaying(self.applied)
        while self.applied < started:
            records = await self._read(Position(bounds.epoch, self.applied.offset + 1))
            if not records:
                # perhaps for good, with what this instance had said
                stream.started = stream.publish(InstanceStarted(stream.instance))
                raise LogUnavailable("the log's head went back while it was replayed")
            self.replayed += sum(since < record.position.offset < started.offset for record in records)
            self._apply_all(records)
            await asyncio.sleep(0)
        stream.attach(self.applied)

    async def _own_start(self, bounds: Bounds) -> Position:
        stream = self._stream
        position = await stream.started.wait(stream.options.append_timeout_seconds)
        if position is None:
            raise LogUnavailable("the log takes no records")
        if position.epoch != bounds.epoch:
            stream.started = stream.publish(InstanceStarted(stream.instance))
            raise LogUnavailable("the log was replaced while it was being opened")
        return position

    async def _prove(self) -> None:
        """Ask for epoch and head, and expect the last applied record where it was; else reset."""
        stream = self._stream
        asked_at = stream.clock.monotonic()
        # read before asking: what is acknowledged later may lie past the head that is answered
        acknowledged, acknowledged_id = stream.writer.acknowledged, stream.writer.acknowledged_id
        try:
            bounds = await self._bounds()
        except PositionLost:
            # it vanished under a live connection; opening creates it again, with a new epoch
            await stream.link.bounded(stream.log.open(), stream.options.call_timeout_seconds)
            bounds = await self._bounds()
        loss = await self._lost(bounds, self.applied, self._anchor_id)
        if loss is None and acknowledged > self.applied:
            loss = await self._lost(bounds, acknowledged, acknowledged_id)
        if loss is None:
            self.lag = bounds.last - self.applied.offset
        else:
            await self._gap(loss, bounds)
        self._proved_at = asked_at

    async def _lost(self, bounds: Bounds, position: Position, record_id: str) -> Loss | None:
        """How the log fails to hold everything from `position` on; None where it does hold it."""
        if bounds.epoch != position.epoch:
            return Loss.EPOCH
        if bounds.last < position.offset:
            return Loss.TAIL
        if bounds.last == position.offset and position.offset < bounds.first:
            return None
        if position.offset < bounds.first:
            return None if position.offset == 0 and bounds.first == 1 else Loss.TRIMMED
        if not record_id:
            return None
        try:
            records = await self._read(position, limit=1)
        except PositionLost:
            return Loss.TRIMMED
        return None if records and records[0].id == record_id else Loss.REUSED

    async def _gap(self, loss: Loss, bounds: Bounds) -> None:
        """Nothing can be proved about what was missed: say so, and go on from the head."""
        stream = self._stream
        if loss in (Loss.TAIL, Loss.REUSED) or bounds.epoch < self.applied.epoch:
            # acknowledged records are gone: a new epoch tells every other reader
            await stream.link.bounded(stream.log.renew(self.applied.epoch), stream.options.call_timeout_seconds)
            bounds = await self._bounds()
        head = await self._read(bounds.head, limit=1) if bounds.first <= bounds.last else []
        self.applied = bounds.head
        self._anchor_id = head[0].id if head else ""
        self._anchored_at = stream.clock.monotonic()
        self._marks.load({})
        self.lag = 0
        self._count_gap(loss.value)
        stream.listener.reset(bounds.head, loss.value)
        stream.restamp(bounds.head)

    def _count_gap(self, reason: str) -> None:
        self.gaps += 1
        self.last_gap = reason
        logger.warning("invalidation reader: %s; L1 is reset", reason)

    # -- applying --------------------------------------------------------------------------------------------

    def _apply_all(self, records: list[Record]) -> None:
        for record in records:
            expected = Position(self.applied.epoch, self.applied.offset + 1)
            if record.position != expected:
                raise PositionLost(f"expected {expected}, and the log gave {record.position}")
            self.applied, self._anchor_id = record.position, record.id
            self._apply(record)
            if self._stream.attached:
                self._stream.advance(record.position)

    def _apply(self, record: Record) -> None:
        try:
            frame = open_frame(record.data)
        except DecodeError as error:
            self.undecodable += 1
            self._distrust(record.position, f"a record that cannot be decoded: {error}")
            return
        grace = _HEARTBEATS_TO_MEET_EVERYBODY * self._stream.options.heartbeat_seconds
        strangers = self._stream.clock.monotonic() < self._anchored_at + grace
        verdict = self._marks.judge(frame, strangers=strangers)
        mark = self._marks.get(frame.origin)
        self._marks.mark(frame.origin, frame.last)
        if verdict is Verdict.DUPLICATE:
            if not self._relearning(record.position):
                self.duplicates += 1
                return
            mark = 0
        if verdict is Verdict.HOLE and self._stream.attached:
            self._distrust(record.position, f"events of {frame.origin} are missing before {frame.first}")
        self._apply_events(frame, record.position, mark)

    def _relearning(self, position: Position) -> bool:
        """Whether this was applied before a restart, and is replayed for the tombstones that were lost with it."""
        kept = self.checkpoint
        return not self._stream.attached and kept is not None and position.offset <= kept.offset

    def _apply_events(self, frame: OpenedFrame, position: Position, mark: int) -> None:
        for sequence, event in enumerate(frame.events, frame.first):
            if sequence <= mark:
                continue
            self.events += 1
            if isinstance(event, Unknown):
                self.unknown += 1
                if not event.ignorable:
                    self._distrust(position, f"an event of a newer release: {event.type}")
                continue
            try:
                self._stream.listener.apply(event, position)
            except Exception as error:
                logger.exception("invalidation reader: an event could not be applied")
                self._distrust(position, f"an event that could not be applied: {error!r}")

    def _distrust(self, position: Position, reason: str) -> None:
        """One record is unusable and may have named anything: reset, and go on after it."""
        self._count_gap(reason)
        if self._stream.attached:
            self._stream.listener.reset(position, reason)
        else:
            self._stream.listener.replaying(position)
