"""What a run came to: a row for each kind of fault, what was violated, and whether it proves anything."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from .checker import Violation, judge_reads, stale_reads
from .events import judge_events
from .history import Broke
from .record import Record

__all__ = ["LEAST_OPERATIONS_A_SECOND", "Report", "Row", "make_report"]

LEAST_OPERATIONS_A_SECOND = 50.0
"""A run, or the time of one kind of fault, with fewer operations than that has not tried."""

_COUNTERS = ("resets", "fenced", "refused", "replayed")
_BEFORE = "(before the first)"


class Row(msgspec.Struct, kw_only=True):
    """One kind of fault, each time from its beginning to that of the next fault.

    - `times`: how often; `seconds`: for how long in all.
    - `reads`, `writes`: how many ended then; `queued`: writes of them that the log had not acknowledged.
    - `stale`: reads that broke a promise; `lost`: events that a subscriber should have been told of.
    - `announced`: events whose loss was told.
    - `resets`, `fenced`, `refused`, `replayed`: what the workers counted: resets of L1, loads that were overtaken or
      not kept, fills that L2 refused, records read after a restart or a lost connection.
    - `fresh`: for each time and process, how long after the end something older than acknowledged was last returned.
    """

    name: str
    times: int = 0
    seconds: float = 0.0
    reads: int = 0
    writes: int = 0
    queued: int = 0
    stale: int = 0
    lost: int = 0
    announced: int = 0
    resets: int = 0
    fenced: int = 0
    refused: int = 0
    replayed: int = 0
    fresh: list[float] = msgspec.field(default_factory=list)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return (self.reads + self.writes) / self.seconds if self.seconds else 0.0


class Report(msgspec.Struct, kw_only=True):
    """`void` says why the run proves nothing; empty where it does."""

    broker: str
    seed: int
    without: str | None
    rows: list[Row]
    violations: list[Violation]
    void: list[str]

    @property
    def status(self) -> int:
        """The exit status: 1 where a promise was broken, 2 where nothing was proved."""
        return 1 if self.violations else 2 if self.void else 0

    def __str__(self) -> str:
        head = ("fault", "times", "reads", "writes", "queued", "per s", "stale", "lost", "told lost", "resets",
                "fenced", "refused", "replayed", "fresh p50", "max")  # fmt: skip
        lines = [head, *map(_cells, [*self.rows, _total(self.rows)])]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = "\n".join(
            "  ".join(
                [
                    line[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
                ]
            )
            for line in lines
        )
        verdict = [f"VOID: {reason}" for reason in self.void]
        verdict += [f"VIOLATED promise {each.promise}: {each.text}" for each in self.violations[:20]]
        verdict += [f"... and {len(self.violations) - 20} more"] * (len(self.violations) > 20)
        end = f"{self.broker}, seed {self.seed}: {len(self.violations)} violations" + ", VOID" * bool(self.void)
        return "\n".join([table, *verdict, end])


def make_report(record: Record, broker: str, seed: int, without: str | None) -> Report:
    """Judge `record`."""
    stale, events = judge_reads(record), judge_events(record)
    rows = _rows(record, stale, events.violations, events.announced)
    return Report(
        broker=broker,
        seed=seed,
        without=without,
        rows=rows,
        violations=sorted(stale + events.violations, key=lambda violation: violation.at),
        void=[*_void(rows), *_unasked(record)],
    )


def _rows(
    record: Record, stale: Sequence[Violation], lost: Sequence[Violation], announced: Sequence[float]
) -> list[Row]:
    faults = sorted(record.faults, key=lambda fault: fault.began)
    began = [fault.began for fault in faults]
    rows = {name: Row(name=name) for name in (_BEFORE, *dict.fromkeys(fault.name for fault in faults))}

    def during(at: float) -> Row:
        turn = bisect_right(began, at)
        return rows[faults[turn - 1].name if turn else _BEFORE]

    for life in record.lives:
        for read in life.reads:
            during(read.ended).reads += 1
        for wrote in life.wrote:
            row = during(wrote.ended)
            row.writes += 1
            row.queued += wrote.position is None and wrote.verb != "invalidating"
        before = dict.fromkeys(_COUNTERS, 0)
        for counted in life.counted:
            row = during(counted.at)
            for name in _COUNTERS:
                setattr(row, name, getattr(row, name) + counted.counters[name] - before[name])
            before = counted.counters
    for violation in stale:
        during(violation.at).stale += 1
    for violation in lost:
        during(violation.at).lost += 1
    for at in announced:
        during(at).announced += 1
    first, last = _ends(record)
    for start, end, fault in zip([first, *began], [*began, last], [None, *faults], strict=True):
        row = rows[_BEFORE if fault is None else fault.name]
        row.times += 1
        row.seconds += end - start
        if fault is not None:
            row.fresh += _fresh(record, fault, end)
    return list(rows.values())


def _fresh(record: Record, fault: Broke, until: float) -> list[float]:
    """By process, how long after `fault` it last returned something outdated by then."""
    last = {life.worker: 0.0 for life in record.lives}
    for life, read, since in stale_reads(record):
        if since < fault.ended < read.began < until:
            last[life.worker] = max(last[life.worker], read.began - fault.ended)
    return list(last.values())


def _ends(record: Record) -> tuple[float, float]:
    ended = [wrote.ended for wrote in record.wrote]
    return min(ended, default=0.0), max(ended, default=0.0)


def _void(rows: Sequence[Row]) -> list[str]:
    total = _total(rows)
    void = [
        f"{row.rate:.0f} operations a second during {row.name!r}, and {LEAST_OPERATIONS_A_SECOND:.0f} are the least"
        for row in [*rows, total]
        if row.rate < LEAST_OPERATIONS_A_SECOND
    ]
    if total.times < 2:
        void.append("nothing was broken")
    void += [f"nothing was {what}" for what in ("fenced", "refused", "replayed") if not getattr(total, what)]
    return void


def _unasked(record: Record) -> list[str]:
    """What promise 4 was never asked for."""
    void = []
    if not any(life.barred for life in record.lives):
        void.append("no barrier returned")
    if not any(read.at_least >= 0 for life in record.lives for read in life.reads):
        void.append("nothing was read at a position")
    return void


def _total(rows: Sequence[Row]) -> Row:
    total = Row(name="total")
    for row in rows:
        for name in Row.__struct_fields__[1:]:
            setattr(total, name, getattr(total, name) + getattr(row, name))
    return total


def _cells(row: Row) -> tuple[str, ...]:
    counts = (row.stale, row.lost, row.announced, row.resets, row.fenced, row.refused, row.replayed)
    fresh = (f"{statistics.median(row.fresh):.2f} s", f"{max(row.fresh):.2f} s") if row.fresh else ("", "")
    before = (row.times, row.reads, row.writes, row.queued)
    return (row.name, *map(str, before), f"{row.rate:.0f}", *map(str, counts), *fresh)
