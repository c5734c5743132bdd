"""The consumer: recognises the log, replays what was missed, follows the tail, and proves that nothing is missing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from async_hybrid_cache_codecs.errors import DecodeError
from async_hybrid_cache_codecs.events import (
    CacheCleared,
    KeysExpired,
    KeysRemoved,
    PositionsAsked,
    ScopeCleared,
    TagsInvalidated,
    Unknown,
)
from async_hybrid_cache_codecs.frames import OpenedFrame

from ..bounded import bounded
from ..checkpoint import Checkpoint
from ..errors import LogUnavailable
from ..positions import Bounds, Position, Record
from .marks import Verdict
from .tail import Loss, Opened, Tail

if TYPE_CHECKING:
    from .stream import InvalidationStream

__all__ = ["Reader"]

logger = logging.getLogger("async_hybrid_cache")

_REMOVALS = (KeysRemoved, KeysExpired, TagsInvalidated, ScopeCleared, CacheCleared)


class Reader:
    """Reads the log in order and tells the listener. Where nothing can be proved, L1 is reset and the head is next."""

    def __init__(self, stream: InvalidationStream) -> None:
        self._stream = stream
        self._tail = Tail(stream.log, stream.options, stream.clock)
        self.checkpoint: Checkpoint | None = None
        self.events = 0
        self.replayed = 0
        self.duplicates = 0
        self.unknown = 0
        self.undecodable = 0
        self.gaps = 0
        self.last_gap: str | None = None

    @property
    def applied(self) -> Position:
        """The newest record applied."""
        return self._tail.position

    @property
    def lag(self) -> int:
        """Records known to be in the log and not applied yet."""
        return self._tail.lag

    @property
    def caught_up_at(self) -> float:
        """The monotonic time as of which every acknowledged event is applied."""
        return self._tail.caught_up_at

    def position_to_keep(self) -> Checkpoint | None:
        """What a checkpoint written now would say; None before the stream is attached."""
        return self._tail.checkpoint() if self._stream.attached else None

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
        wait = self._tail.proof_due_in(self._stream.proof_seconds)
        if wait <= 0:
            await self._prove()
            self._stream.link.clear("reader")
        # also after a proof: one that takes longer than the time between two would leave no other turn to read
        self._apply_all(await self._tail.next(max(wait, 0.0), self._foresee))
        # a backlog arrives without a wait; whoever else runs in this loop gets a turn between its chunks
        await asyncio.sleep(0)

    # -- finding one's place ---------------------------------------------------------------------------------

    async def _anchor(self) -> None:
        """Replay the recent log, and what was missed since the checkpoint, then attach."""
        stream, tail = self._stream, self._tail
        asked_at = stream.clock.monotonic()
        bounds = await self._recognise(await tail.bounds())
        kept = self.checkpoint
        # an own acknowledged record proves that this head is the log's and not the past of a deposed leader
        started = await self._own_start(bounds)
        begin = max(bounds.first, started.offset - stream.options.replay_records)
        since = kept.offset if kept else started.offset
        if kept and kept.offset + 1 >= bounds.first:
            begin = min(begin, kept.offset + 1)
        tail.marks.load(kept.marks if kept else {})
        tail.stand(Position(bounds.epoch, begin - 1), "")
        tail.aim(asked_at, bounds.head)
        stream.listener.replaying(self.applied, None)
        while self.applied < started:
            records = await tail.next(0.0)
            if not records:
                # perhaps for good, with what this instance had said
                stream.started = stream.publish(stream.introduction())
                raise LogUnavailable("the log's head went back while it was replayed")
            self.replayed += sum(since < record.position.offset < started.offset for record in records)
            self._apply_all(records)
            await asyncio.sleep(0)
        stream.attach(self.applied)

    async def _recognise(self, bounds: Bounds) -> Bounds:
        """Give up the checkpoint where the log does not hold all from there on; its bounds after that."""
        stream, kept = self._stream, self.checkpoint
        if kept is None:
            return bounds
        place = Position(kept.epoch, kept.offset)
        loss = await self._tail.lost(bounds, place, kept.record_id)
        if _vanished(loss, bounds, place):
            # not by the word of a deposed leader, which acknowledges nothing
            await self._own_start(bounds)
            bounds = await self._tail.bounds()
            loss = await self._tail.lost(bounds, place, kept.record_id)
        if _vanished(loss, bounds, place):
            bounds = await self._renew(kept.epoch)
            stream.started = stream.publish(stream.introduction())
        if loss is not None:
            reason = f"the log was trimmed or replaced since the {'snapshot' if stream.base else 'checkpoint'}"
            self._count_gap(reason)
            self.checkpoint = stream.base = None
            stream.listener.replaying(bounds.head, reason)
        return bounds

    async def _renew(self, above: int) -> Bounds:
        """Acknowledged records are gone: a new epoch tells every other reader."""
        await bounded(self._stream.log.renew(above), self._stream.options.call_timeout_seconds)
        return await self._tail.bounds()

    async def _own_start(self, bounds: Bounds) -> Position:
        stream = self._stream
        position = await stream.started.wait(stream.options.append_timeout_seconds)
        if position is None:
            raise LogUnavailable("the log takes no records")
        if position.epoch != bounds.epoch:
            stream.started = stream.publish(stream.introduction())
            raise LogUnavailable("the log was replaced while it was being opened")
        return position

    async def _prove(self) -> None:
        """Expect the last applied record where it was, and the last acknowledged one; else reset."""
        writer = self._stream.writer
        # read before asking: what is acknowledged later may lie past the head that is answered
        bounds, loss = await self._tail.prove((writer.acknowledged, writer.acknowledged_id))
        if loss is not None:
            await self._gap(loss, bounds)

    async def _gap(self, loss: Loss, bounds: Bounds) -> None:
        """Nothing can be proved about what was missed: say so, and go on from the head."""
        stream, tail = self._stream, self._tail
        if _vanished(loss, bounds, self.applied):
            bounds = await self._renew(self.applied.epoch)
        record_id = await tail.id_at(bounds)
        tail.stand(bounds.head, record_id)
        tail.marks.load({})
        self._count_gap(loss.value)
        stream.listener.reset(bounds.head, loss.value)
        stream.restamp(bounds.head)
        stream.arrivals.reach(bounds.head)

    def _count_gap(self, reason: str) -> None:
        self.gaps += 1
        self.last_gap = reason
        logger.warning("invalidation reader: %s; L1 is reset", reason)

    # -- applying --------------------------------------------------------------------------------------------

    def _foresee(self, records: list[Record]) -> None:
        """Let go at once of what `records` take away: too much where they turn out to follow something else."""
        marks: dict[str, int] = {}
        for record in records:
            opened = self._tail.open(record)
            if not isinstance(opened, Opened):
                continue
            frame, mark = opened.frame, marks.get(opened.frame.origin, opened.mark)
            marks[frame.origin] = max(mark, frame.last)
            for sequence, event in enumerate(frame.events, frame.first):
                if sequence > mark and isinstance(event, _REMOVALS):
                    with contextlib.suppress(Exception):  # it is applied again, and told then
                        self._stream.listener.apply(event, record.position)

    def _apply_all(self, records: list[Record]) -> None:
        for record in records:
            self._tail.take(record)
            self._apply(record)
            if self._stream.attached:
                self._stream.advance(record.position)
                self._stream.arrivals.reach(record.position)

    def _apply(self, record: Record) -> None:
        opened = self._tail.open(record)
        if opened is None:
            return
        if isinstance(opened, DecodeError):
            self.undecodable += 1
            self._distrust(record.position, f"a record that cannot be decoded: {opened}")
            return
        frame, verdict, mark = opened
        self._tail.marks.mark(frame.origin, frame.last)
        if verdict is Verdict.DUPLICATE:
            if not self._relearning(record.position):
                self.duplicates += 1
                return
            mark = 0
        if verdict is Verdict.HOLE and (self._stream.attached or self._past_base(record.position)):
            self._distrust(record.position, f"events of {frame.origin} are missing before {frame.first}")
        self._apply_events(frame, record.position, mark)

    def _relearning(self, position: Position) -> bool:
        """Whether this was applied before a restart, and is replayed for the tombstones that were lost with it."""
        kept = self.checkpoint
        return not self._stream.attached and kept is not None and position.offset <= kept.offset

    def _past_base(self, position: Position) -> bool:
        """Whether this is being replayed to a listener that stands before it."""
        base = self._stream.base
        return not self._stream.attached and base is not None and position.offset > base.offset

    def _apply_events(self, frame: OpenedFrame, position: Position, mark: int) -> None:
        self._stream.roster.hear(frame)
        for sequence, event in enumerate(frame.events, frame.first):
            if sequence <= mark:
                continue
            self.events += 1
            if isinstance(event, PositionsAsked):
                self._stream.writer.answer()
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
            lost = reason if self._past_base(position) else None
            if lost is not None:
                self._stream.base = None
            self._stream.listener.replaying(position, lost)


def _vanished(loss: Loss | None, bounds: Bounds, place: Position) -> bool:
    """Whether the log lost what it had acknowledged, which no retention does."""
    return loss in (Loss.TAIL, Loss.REUSED) or bounds.epoch < place.epoch
