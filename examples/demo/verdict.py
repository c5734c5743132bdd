"""What a run has to show: nothing stale, and enough happening for that to mean something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Check", "Outcome", "percentile", "verdict"]

_READS = 200
_READS_ACROSS = 100
_HITS = 100
_TIMED = 20


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything counted in a run; times in seconds. `caught_up` is None where the killed process never did."""

    reads: int
    checked: int
    across: int
    stale: Sequence[str]
    hits: int
    gone: Sequence[float]
    fenced: int
    replayed: int
    missed: int
    caught_up: float | None
    killed: str
    gaps: int
    failed: Sequence[str]


class Check(NamedTuple):
    """One line of the verdict."""

    name: str
    value: str
    note: str
    passed: bool


def verdict(outcome: Outcome) -> list[Check]:
    """The checks, in the order in which they are shown; the run passed if all of them did."""
    gone = sorted(outcome.gone)
    late = "never" if outcome.caught_up is None else f"{outcome.caught_up:.2f} s"
    return [
        Check(
            "reads checked",
            f"{outcome.checked}",
            f"of {outcome.reads}, {outcome.across} across processes",
            outcome.checked >= _READS and outcome.across >= _READS_ACROSS,
        ),
        Check("stale reads", f"{len(outcome.stale)}", "".join(outcome.stale[:1]), not outcome.stale),
        Check("answered from L1", f"{outcome.hits}", "reads that asked nobody", outcome.hits >= _HITS),
        Check(
            "gone elsewhere",
            f"p50 {_milliseconds(gone, 50)}, p99 {_milliseconds(gone, 99)}",
            f"after the answer of {len(gone)} writes",
            len(gone) >= _TIMED,
        ),
        Check("fills fenced", f"{outcome.fenced}", "loads overtaken by a write", outcome.fenced > 0),
        Check(
            "events replayed",
            f"{outcome.replayed}",
            f"by {outcome.killed}, {outcome.missed} writes missed",
            outcome.replayed >= 1 and outcome.missed >= 1,
        ),
        Check(
            "catch-up",
            late,
            "from process start to log head",
            outcome.caught_up is not None,
        ),
        Check("gaps", f"{outcome.gaps}", "resets for want of proof", outcome.gaps == 0),
        Check("failed requests", f"{len(outcome.failed)}", "".join(outcome.failed[:1]), not outcome.failed),
    ]


def _milliseconds(ordered: Sequence[float], percent: int) -> str:
    return f"{percentile(ordered, percent) * 1e3:.1f} ms"


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of a sorted sequence; NaN of an empty one."""
    if not ordered:
        return float("nan")
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
