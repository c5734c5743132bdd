"""From records of the log to what a subscriber is told, and where it stands after each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from async_hybrid_cache_codecs.errors import DecodeError
from async_hybrid_cache_codecs.events import (
    ChangeEnded,
    Event,
    InstanceSeen,
    InstanceStarted,
    InstanceStopped,
    KeysChanging,
    PositionsAsked,
    Unknown,
)

from ..checkpoint import Checkpoint
from ..clock import Clock
from ..positions import ORIGIN, Bounds, Position, Record
from ..stream.marks import Verdict
from ..stream.tail import Opened, Tail
from .delivery import Gap, SubscriptionEvent

__all__ = ["Counts", "Feed", "Step"]


class Counts:
    """What a subscription has done, over all its sessions."""

    def __init__(self) -> None:
        self.delivered = 0
        self.retries = 0
        self.gaps = 0
        self.duplicates = 0


class Step(NamedTuple):
    """One thing to be told. When it comes out of a feed, the tail stands where it will be once this was handled."""

    id: str
    position: Position
    at: int
    event: SubscriptionEvent


class Feed:
    """Turns records into steps, in order; what instances say of themselves is left out."""

    def __init__(self, tail: Tail, clock: Clock, counts: Counts) -> None:
        self._tail = tail
        self._clock = clock
        self._counts = counts
        self._held = ORIGIN

    def resume(self, kept: Checkpoint) -> None:
        """Stand where a checkpoint says."""
        self._tail.marks.load(kept.marks)
        self._tail.stand(Position(kept.epoch, kept.offset), kept.record_id)

    def lost(self, bounds: Bounds, reason: str) -> Step:
        """Events were lost: say so, then go on with what the log still holds and was not told before."""
        self._tail.marks.forgive()
        self._held = bounds.head
        self._tail.stand(Position(bounds.epoch, bounds.first - 1), "")
        self._tail.lag = bounds.last - self._tail.position.offset
        return self._gap(self._tail.position, reason)

    def steps(self, record: Record) -> Iterator[Step]:
        """What the next record says; the tail has moved past it when the iterator ends."""
        self._tail.expect(record)
        if record.position > self._held:
            # what the log took after the loss was told of may be lost anew
            self._tail.marks.forgive_no_more()
        opened = self._tail.open(record)
        if isinstance(opened, Opened) and opened.verdict is not Verdict.DUPLICATE:
            yield from self._frame(record, opened)
            return
        self._tail.take(record)
        if isinstance(opened, DecodeError):
            yield self._gap(record.position, f"a record that cannot be decoded: {opened}")
        elif opened is not None:
            self._counts.duplicates += 1

    def _frame(self, record: Record, opened: Opened) -> Iterator[Step]:
        frame, verdict, mark = opened
        marks = self._tail.marks
        if verdict is Verdict.HOLE:
            marks.mark(frame.origin, frame.first - 1)
            yield self._gap(record.position, f"events of {frame.origin} are missing before {frame.first}")
        told = [
            (sequence, event)
            for sequence, frame_event in enumerate(frame.events, frame.first)
            if sequence > mark and (event := _told(frame_event)) is not None
        ]
        for sequence, event in told[:-1]:
            marks.mark(frame.origin, sequence)
            yield Step(f"{frame.origin}:{sequence}", record.position, frame.at, event)
        marks.mark(frame.origin, frame.last)
        self._tail.take(record)
        for sequence, event in told[-1:]:
            yield Step(f"{frame.origin}:{sequence}", record.position, frame.at, event)

    def _gap(self, position: Position, reason: str) -> Step:
        return Step(f"gap:{position}", position, self._clock.time_ns(), Gap(reason))


def _told(event: Event | Unknown) -> SubscriptionEvent | None:
    match event:
        case InstanceStarted() | InstanceSeen() | InstanceStopped() | PositionsAsked():
            return None
        case KeysChanging() | ChangeEnded():
            return None  # nothing has changed by these
        case Unknown():
            return None if event.ignorable else Gap(f"an event of a newer release: {event.type}")
        case _:
            return event
