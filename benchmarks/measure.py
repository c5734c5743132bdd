"""How things are timed, and how figures are told."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

__all__ = ["interleaved", "percentile", "table"]


async def interleaved(
    subjects: dict[str, Callable[[int], Awaitable[object]]], rounds: int, calls: int
) -> dict[str, float]:
    """Best nanoseconds a call of each subject: all of them once a round, so that none has the quiet moments."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, subject in subjects.items():
            begun = time.perf_counter_ns()
            await subject(calls)
            spent = (time.perf_counter_ns() - begun) / calls
            best[name] = min(best.get(name, spent), spent)
    return best


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(title: str, figures: dict[str, float], unit: str, base: str | None = None) -> None:
    """Print figures, each also as a ratio to `base`."""
    print(f"\n{title}")
    for name, value in figures.items():
        ratio = f"  {value / figures[base]:7.2f}x" if base else ""
        print(f"  {name:<44}{value:>12,.1f} {unit}{ratio}")
