"""The judge of events: whatever was acknowledged or receipted, every subscriber is told of it, or that it is lost."""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from .checker import Violation
from .history import Broke, Told, Wrote
from .record import Life, Position, Record
from .setup import WORKERS, marker_of, scope_of

__all__ = ["Judged", "judge_events"]

_SENT_SECONDS = 5.0
"""So long after nothing keeps its writer from the log any more, what is queued is there."""

_TOLD_SECONDS = 5.0
"""So long after a fault has ended, the gap that it made is told."""


class Judged(NamedTuple):
    """What was lost without a word, and when writes returned of which somebody was told a gap instead."""

    violations: list[Violation]
    announced: list[float]


def judge_events(record: Record) -> Judged:
    """What no subscriber may miss.

    - 6: a write raised; or it returned and is never told to anybody, and no gap was told to this worker in the time in
      which it may have been in the log and not yet read.
    - 1: a removal whose position is known was not told to a worker's subscriber, though what lies behind it was, and
      between the two it was told of no gap. Where the log went back to an earlier state, the gap may come as late as
      that is noticed.
    """
    violations: list[Violation] = []
    announced: list[float] = []
    for life in record.lives:
        violations += [_raised(life, wrote) for wrote in life.wrote if wrote.error is not None]
    for worker in range(WORKERS):
        subscriber = _Subscriber(record, record.told(worker))
        for life in record.lives:
            for wrote in life.wrote:
                if wrote.error is not None or subscriber.heard(wrote):
                    continue
                position = record.positions.get((wrote.key, wrote.version))
                if subscriber.excused(wrote, position, life.worker):
                    announced.append(wrote.ended)
                    continue
                promise = "6" if position is None else "1"
                writer = f"{wrote.verb} by worker {life.worker}, life {life.number}"
                at = "queued" if wrote.position is None else "acknowledged at {}-{}".format(*wrote.position)
                violations.append(
                    Violation(
                        promise,
                        wrote.ended,
                        f"worker {worker} was never told of version {wrote.version} of key {wrote.key} ({writer},"
                        f" {at}, returned at {wrote.ended:.3f}), nor of a gap",
                    )
                )
    return Judged(violations, announced)


def _raised(life: Life, wrote: Wrote) -> Violation:
    writer = f"{wrote.verb} of version {wrote.version} of key {wrote.key} by worker {life.worker}, life {life.number},"
    return Violation("6", wrote.ended, f"{writer} raised {wrote.error} at {wrote.ended:.3f}")


class _Subscriber:
    """All that one worker was told, in order."""

    def __init__(self, record: Record, told: list[Told]) -> None:
        self._told = told
        self._keys = {(each.scope, key) for each in told for key in each.keys if "#" in key}
        self._places = {(each.position, each.scope, key) for each in told for key in (*each.keys, None)}
        self._last = {(each.scope, key): each.at for each in told for key in (*each.keys, None)}
        self._gaps = [index for index, each in enumerate(told) if each.gap is not None]
        self._faults = record.faults
        self._forgetful = [fault for fault in record.faults if fault.forgets_seconds]

    def heard(self, wrote: Wrote) -> bool:
        """Whether it was told of that write.

        Sets and clears carry no marker, and are known by their positions; queued ones have none, and any later event
        of that key or scope says as much.
        """
        scope = scope_of(wrote.key)
        if wrote.verb in ("remove", "invalidating"):
            return (scope, marker_of(wrote.key, wrote.version)) in self._keys
        key = str(wrote.key) if wrote.verb == "set" else None
        if wrote.position is None:
            return self._last.get((scope, key), wrote.began) > wrote.began
        return (wrote.position, scope, key) in self._places

    def excused(self, wrote: Wrote, position: Position | None, writer: int) -> bool:
        """Whether it was told of a gap in the place of that write."""
        if position is None:
            until = self._gone(wrote, writer)
            return any(wrote.began < self._told[gap].at < until for gap in self._gaps)
        behind = next(
            (
                index
                for index, each in enumerate(self._told)
                if each.gap is None and each.position > position and each.at > wrote.began
            ),
            len(self._told),
        )
        before = next(
            (
                index
                for index in range(behind - 1, -1, -1)
                if self._told[index].gap is None and self._told[index].position < position
            ),
            -1,
        )
        first = bisect_left(self._gaps, before)
        if first < len(self._gaps) and self._gaps[first] <= behind:
            return True
        # where the log went back, events share their places with others until that is noticed
        return any(
            fault.began < wrote.ended and any(wrote.began < self._told[gap].at < _noticed(fault) for gap in self._gaps)
            for fault in self._forgetful
        )

    def _gone(self, wrote: Wrote, writer: int) -> float:
        """Until when a gap may be told in the place of a write that was queued: whatever can have lost it is over."""
        kept = [each.ended for each in self._faults if each.began < wrote.ended and each.worker in (None, writer)]
        sent = max([wrote.ended, *kept]) + _SENT_SECONDS
        return max([sent, *(_noticed(each) + _TOLD_SECONDS for each in self._faults if each.began < sent)])


def _noticed(fault: Broke) -> float:
    return fault.ended + fault.forgets_seconds
