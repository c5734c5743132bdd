"""From a failing run to the fewest steps that fail in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .plan import Plan, Step, draw
from .run import simulate

__all__ = ["minimal", "shrink"]

_SECONDS = 60.0


def shrink(steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool]) -> list[Step]:
    """A part of `steps` that `fails`, of which no single step can be left out.

    Delta debugging: leave out ever smaller pieces as long as it goes on failing (Zeller and Hildebrandt, 2002).
    """
    kept = list(steps)
    size = len(kept)
    while size := size // 2:
        start = 0
        while start < len(kept):
            less = kept[:start] + kept[start + size :]
            if fails(less):
                kept = less
            else:
                start += size
        if size == 1 and len(kept) < len(steps):
            steps, size = kept, 2  # once more, until nothing changes
    return kept


def minimal(seed: int, seconds: float = _SECONDS) -> tuple[Plan, str]:
    """The plan of a failing seed without what its violation does not need, and the violation; ends after `seconds`."""
    plan = draw(seed)
    broken = _violation(plan)
    assert broken is not None, f"seed {seed} does not fail"
    deadline = time.monotonic() + seconds

    def fails(steps: Sequence[Step]) -> bool:
        if time.monotonic() > deadline:
            return False
        found = _violation(plan._replace(steps=tuple(steps)))
        return found is not None and found[:2] == broken[:2]

    plan = plan._replace(steps=tuple(shrink(plan.steps, fails)))
    return plan, _violation(plan) or broken


def _violation(plan: Plan) -> str | None:
    try:
        simulate(plan.seed, plan)
    except Exception as error:
        return str(error) or repr(error)
    return None
