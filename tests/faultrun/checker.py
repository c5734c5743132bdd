"""The judge of reads: knows what was written, acknowledged and returned, and nothing of the cache's insides.

A removal counts as acknowledged from the moment when its writer had the receipt with its position, or any subscriber
was told of it: both are later than the truth, so what is judged late was late.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from .history import Broke, Read
from .record import Acknowledged, Life, Record
from .setup import BOUNDS, scope_of

__all__ = ["FRESH_SECONDS", "Violation", "judge_reads", "stale_reads"]

FRESH_SECONDS = 2.0
"""Promise 1: within this time of the log being reachable, every live instance has applied what was acknowledged."""

_ANSWER_SECONDS = 12.0
"""No read takes longer: the loader answers at once, and a lease whose holder died lasts ten seconds."""


class Violation(NamedTuple):
    """A promise was broken: which, when, and what was seen."""

    promise: str
    at: float
    text: str


def judge_reads(record: Record) -> list[Violation]:
    """Every read that returned less than it owed.

    - 1: a newer version was acknowledged more than 2 s before the read began, and nothing had been wrong for this
      process in that time: neither a fault nor a moment in which it did not run.
    - 3: it was acknowledged longer before than the scope's bound, whatever is wrong. Callers who share a load get what
      that load read, and whoever began it still waits: a read counts from the beginning of the oldest under way then.
    - 4: this process had itself written it before, or the position that the read brought, or a barrier, owed it.
    - 7: it was acknowledged before this process was started, and nothing had been wrong since; or this worker had
      itself written it in an earlier life, and the write had returned, queued or not.
    - 9: it raised or kept its caller waiting, though the loader works.
    """
    barred: dict[int, list[Acknowledged]] = defaultdict(list)
    for life in record.lives:
        for each in life.barred:
            barred[each.key].append(Acknowledged(each.version, each.at))
    return [
        violation
        for life in record.lives
        for key, reads in _by_key(life).items()
        for violation in _Judge(record, life, key, barred[key]).judge(reads)
    ]


def stale_reads(record: Record) -> Iterator[tuple[Life, Read, float]]:
    """Reads that returned less than was acknowledged when they began, whether they might or not, and since when."""
    for life in record.lives:
        for read in life.reads:
            since = record.versions[read.key].outdated(read.version)
            if since < read.began and read.error is None:
                yield life, read, since


def _by_key(life: Life) -> dict[int, list[Read]]:
    reads: dict[int, list[Read]] = defaultdict(list)
    for read in sorted(life.reads, key=lambda read: read.began):
        reads[read.key].append(read)
    return reads


class _Judge:
    """Judges the reads of one key in one process, in the order in which they began."""

    def __init__(self, record: Record, life: Life, key: int, barred: list[Acknowledged]) -> None:
        assert life.served is not None
        self._life = life
        self._key = key
        self._bound = BOUNDS[scope_of(key)]
        self._versions = record.versions[key]
        self._barred = barred
        own = sorted((wrote.ended, wrote.version) for wrote in life.wrote if wrote.key == key and wrote.error is None)
        self._own_at = [at for at, _ in own]
        self._own = [*accumulate((version for _, version in own), max)]
        self._former = [
            Acknowledged(wrote.version, wrote.ended)
            for former in record.lives
            if former.worker == life.worker and former.number < life.number
            for wrote in former.wrote
            if wrote.key == key and wrote.error is None
        ]
        self._forgetful = [fault for fault in record.faults if fault.forgets_seconds]
        self._started = life.served.began
        self._pauses = [(pause.at - pause.seconds, pause.at) for pause in life.paused]
        self._troubles = self._pauses + _faults_of(life, record.faults)

    def judge(self, reads: list[Read]) -> Iterator[Violation]:
        """What is wrong with them."""
        waiting: list[Read] = []
        for read in reads:
            waiting = [each for each in waiting if each.ended > read.began]
            waiting.append(read)
            paused = any(began < read.ended and read.began < ended for began, ended in self._pauses)
            if read.error is None:
                yield from self._found(read, waiting[0].began)
            elif not paused:
                yield self._violation("9", read, f"raised {read.error}")
            if read.ended - read.began > _ANSWER_SECONDS and not paused:
                yield self._violation("9", read, f"took {read.ended - read.began:.3f} s")

    def _found(self, read: Read, load_began: float) -> Iterator[Violation]:
        before = bisect_left(self._own_at, read.began)
        if before and read.version < self._own[before - 1]:
            yield self._violation("4", read, f"after its own write of version {self._own[before - 1]} had returned")
        elif former := [
            each.version for each in self._former if each.version > read.version and not self._forgotten(each.at, read)
        ]:
            yield self._violation(
                "7", read, f"after its own write of version {former[0]} had returned in a life before"
            )
        elif self._versions.outdated(read.version) < read.began:
            found = next(self._late(read, load_began), None)
            if found is not None:
                yield self._violation(found[0], read, found[1])

    def _late(self, read: Read, load_began: float) -> Iterator[tuple[str, str]]:
        troubled_until = max((min(read.began, end) for began, end in self._troubles if began < read.began), default=0.0)
        for version, at in self._versions.newer(read.version):
            if self._forgotten(at, read):
                continue
            text = f"{read.began - at:.3f} s after the removal for version {version} was acknowledged"
            if version <= read.at_least:
                yield "4", f"at a position that holds version {read.at_least}"
            if at < load_began - self._bound:
                yield "3", f"{text}, with a bound of {self._bound:g} s"
            if max(at, troubled_until) < read.began - FRESH_SECONDS:
                yield "1", text
            if at < self._started and troubled_until <= self._started:
                yield "7", f"{text}, and before this process was started"
        for version, at in self._barred:
            if version > read.version and at < load_began and not self._forgotten(at, read):
                yield "4", f"after a barrier for version {version}"

    def _forgotten(self, at: float, read: Read) -> bool:
        """Whether the log may have lost what it acknowledged at that time, and nobody need have noticed yet."""
        return any(
            fault.began < at < fault.ended + FRESH_SECONDS and read.began < fault.ended + fault.forgets_seconds
            for fault in self._forgetful
        )

    def _violation(self, promise: str, read: Read, text: str) -> Violation:
        who = f"worker {self._life.worker} (life {self._life.number})"
        what = f"key {self._key}" if read.error else f"version {read.version} of key {self._key}"
        return Violation(promise, read.began, f"{who} read {what} at {read.began:.3f}: {text}")


def _faults_of(life: Life, faults: Iterable[Broke]) -> list[tuple[float, float]]:
    """When something was wrong for that process, its own birth not counted, which some fault made necessary."""
    assert life.served is not None
    return [
        (fault.began, fault.ended)
        for fault in faults
        if fault.worker in (None, life.worker) and not fault.began < life.served.began < fault.ended
    ]
