"""Seeds, and what is done with one that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import mutations
from .log import SimulatedLog
from .mutations import Mutation, hear_late
from .plan import draw
from .run import Violation, simulate
from .shrink import minimal, shrink

ROOT = Path(__file__).parents[2]
SEEDS = 200


def test_no_seed_breaks_a_promise() -> None:
    done = _command("--seeds", str(SEEDS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SEEDS} seeds in " in done.stdout


def test_every_rule_that_is_switched_off_is_noticed() -> None:
    done = _command("--mutations")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(mutations.MUTATIONS)} mutations, 0 not noticed" in done.stdout


def test_a_seed_replays_itself() -> None:
    first, second = simulate(3), simulate(3)
    assert first.trace == second.trace
    assert first.counts == second.counts


def test_a_failing_seed_is_reduced_to_what_its_failure_needs() -> None:
    with _of("an applied event drops nothing").applied():
        plan, violation = minimal(0)
        with pytest.raises(Violation, match=r"^A: "):
            simulate(0, plan)
        for left_out in plan.steps:
            simulate(0, plan._replace(steps=tuple(step for step in plan.steps if step != left_out)))
    assert violation.startswith("A: ")
    # one instance holds the value, another one changes it
    read, change = plan.steps
    assert read.verb == "read"
    assert change.verb in ("remove", "set")
    simulate(0, plan)


def test_a_log_slower_than_the_time_between_two_proofs_is_still_read() -> None:
    with Mutation("", ((SimulatedLog, "read", hear_late),)).applied():
        simulate(21)


def test_shrinking_keeps_every_step_that_is_needed() -> None:
    steps = draw(0).steps[:100]
    needed = {steps[7], steps[50], steps[99]}
    assert set(shrink(steps, lambda kept: needed <= set(kept))) == needed


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    # takes every core for a minute, beside tests that promise something within a second
    command = ["nice", sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _of(name: str) -> Mutation:
    return next(mutation for mutation in mutations.MUTATIONS if mutation.name == name)
