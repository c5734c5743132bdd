"""What happened in an outage, and what can be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.member import Browsed, Written
from tests.faults.tape import Heard

__all__ = ["Outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened; times in monotonic seconds, `written` by writer and `heard` by reader, each in its order."""

    broken: float
    started: float
    back: float
    written: Sequence[Sequence[Written]]
    heard: Sequence[Sequence[Heard]]
    browsed: Sequence[Browsed]
    gaps: Sequence[int]
    coarsened: int
    fresh: float
    """Seconds after the last write until every process served what the database holds."""

    @property
    def writes(self) -> list[Written]:
        """All of them."""
        return [write for writer in self.written for write in writer]

    @property
    def during(self) -> list[Written]:
        """Those that began and ended while the broker was away."""
        return [each for each in self.writes if self.broken < each.at and each.at + each.seconds < self.started]

    @property
    def errors(self) -> list[str]:
        """What a write or a read raised."""
        raised = [write.error for write in self.writes if write.error is not None]
        return raised + [error for browsed in self.browsed for error in browsed.errors]

    @property
    def not_in_order(self) -> list[str]:
        """Readers that did not apply all writes of a writer in the order in which they were made."""
        return [
            f"reader {number} of writer {writer}"
            for number, heard in enumerate(self.heard)
            for writer, written in enumerate(self.written)
            if _firsts(heard, str(writer)) != list(range(len(written)))
        ]

    @property
    def first_events(self) -> list[float]:
        """Of each reader, seconds from the return of the broker to the first write applied that was made meanwhile.

        0 where the reader was back before it was known here that the broker is.
        """
        firsts = [
            min(each.at for each in heard if self.written[int(each.name)][each.number].at > self.broken)
            for heard in self.heard
        ]
        return [max(0.0, first - self.back) for first in firsts]

    @property
    def caught_up(self) -> float:
        """Seconds from the return until every reader had applied all that was written before it."""
        lasts = []
        for heard in self.heard:
            # later ones are announced again, where a delete in L2 could only be done late
            firsts = {(each.name, each.number): each.at for each in reversed(heard)}
            lasts += [at for (name, number), at in firsts.items() if self.written[int(name)][number].at < self.back]
        return max(lasts) - self.back

    def behind(self, at: float) -> int:
        """How many writes that were accepted by the time `at` the slowest reader had not applied by then."""
        accepted = sum(write.at + write.seconds <= at for write in self.writes)
        applied = [len({(each.name, each.number) for each in heard if each.at <= at}) for heard in self.heard]
        return max(0, accepted - min(applied))


def _firsts(heard: Sequence[Heard], name: str) -> list[int]:
    """The numbers of one writer in the order in which each was first applied."""
    # a delete in L2 that could only be done late is announced again
    return list(dict.fromkeys(each.number for each in heard if each.name == name))
