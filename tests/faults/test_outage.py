"""The broker goes away under writers and readers in processes of their own: nothing is refused, lost or reordered.

`python -m benchmarks.outage` is the same for longer, with figures.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from async_hybrid_cache.testing.promises import promise
from benchmarks.outage.breakable import breakable
from benchmarks.outage.outcome import Outcome
from benchmarks.outage.play import play
from examples.demo.brokers import NAMES
from tests.faults.fleet import FRESH_SECONDS
from tests.faults.member import Browsed, Written
from tests.faults.tape import Heard

SECONDS = 4.0


@promise(1, fault="server killed, or file locked")
@promise(6, fault="server killed, or file locked")
@promise(9, fault="server killed, or file locked")
@pytest.mark.parametrize("name", NAMES)
def test_every_write_is_accepted_and_then_applied_everywhere_in_order(
    name: str, tmp_path: Path, figures: dict[str, list[float]]
) -> None:
    with breakable(name, tmp_path) as broker:
        seen = asyncio.run(play(broker, SECONDS, tmp_path))
    assert seen.errors == []
    assert len(seen.during) > 100
    assert all(write.queued for write in seen.during)
    assert seen.not_in_order == []
    assert seen.gaps == [0] * 6
    assert seen.coarsened == 0
    assert all(browsed.reads > 50 for browsed in seen.browsed)
    assert seen.behind(seen.started) >= len(seen.during) - 3
    assert seen.caught_up < FRESH_SECONDS
    assert seen.fresh < FRESH_SECONDS
    figures[f"{name} away for {SECONDS:g} s: first event"] += seen.first_events
    figures[f"{name} away for {SECONDS:g} s: all applied"].append(seen.caught_up)


# -- the judge -----------------------------------------------------------------------------------------------


def outcome(heard: list[Heard]) -> Outcome:
    """Four writes of one writer, of which the second and third were made while the broker was away from 2 to 5."""
    written = [Written(at, 0.1, 2 < at < 5) for at in (1.0, 3.0, 4.0, 6.0)]
    return Outcome(
        broken=2.0, started=5.0, back=5.5, written=[written], heard=[heard], browsed=[Browsed(1, ["late"], 0.0)],
        gaps=[0], coarsened=0, fresh=0.1,
    )  # fmt: skip


def told(*numbers: int) -> list[Heard]:
    """These writes applied, each half a second after the one before, from 5 on; the first of all at once."""
    return [Heard("0", number, 1.2 if number == 0 else 5.5 + 0.5 * turn) for turn, number in enumerate(numbers)]


def test_the_judge_measures() -> None:
    seen = outcome(told(0, 1, 2, 3))
    assert len(seen.during) == 2
    assert seen.errors == ["late"]
    assert seen.not_in_order == []
    assert seen.first_events == [0.5]
    assert seen.caught_up == 1.0
    assert [seen.behind(at) for at in (1.15, 1.3, 3.5, 5.0, 6.05, 6.5, 7.0)] == [1, 0, 1, 2, 1, 1, 0]


@pytest.mark.parametrize("numbers", [(0, 2, 3), (0, 2, 1, 3), (0, 1, 2), (0, 1, 2, 3, 4)])
def test_the_judge_sees_what_is_lost_or_out_of_order(numbers: tuple[int, ...]) -> None:
    assert outcome(told(*numbers)).not_in_order == ["reader 0 of writer 0"]


def test_the_judge_does_not_mind_what_is_announced_again() -> None:
    seen = outcome(told(0, 1, 2, 1, 3, 2))
    assert seen.not_in_order == []
    assert seen.caught_up == 1.0
