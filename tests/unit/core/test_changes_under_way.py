"""The table of changes that were announced and have not ended."""

from __future__ import annotations

import math
import random

import pytest

from async_hybrid_cache.changes import Changes
from async_hybrid_cache_codecs.events import KeysChanging
from tests.unit.core.clock import ManualClock

CHANGING = KeysChanging("c1", "users", ("a",), 30.0)


def test_changes_stay_bounded_and_cover_everything_where_they_are_too_many() -> None:
    clock = ManualClock()
    changes = Changes(clock, max_keys=10)
    for number in range(10):
        changes.begin(KeysChanging(f"over{number}", "users", (str(number),), 1.0))
    clock.advance(2)
    changes.begin(KeysChanging("one", "users", ("a", "b", "a"), 5.0))
    assert len(changes) == 1
    assert not changes.cover("users", "z")
    for number in range(9):
        changes.begin(KeysChanging(f"more{number}", "users", (str(number),), number + 1.0))
    assert len(changes) == 0
    assert changes.cover("others", "z")
    changes.end("one")
    clock.advance(8.9)
    assert changes.cover("users", "a")
    clock.advance(0.2)
    assert not changes.cover("users", "a")


def test_whatever_is_said_the_table_answers_as_a_plain_list_would() -> None:
    rng = random.Random(7)
    for _ in range(200):
        clock = ManualClock()
        changes = Changes(clock)
        plain: dict[str, tuple[tuple[str, ...], float]] = {}
        ended: set[str] = set()
        for _ in range(60):
            change = rng.choice("ABCDEF")
            match rng.randrange(3):
                case 0 if change not in ended:
                    keys = tuple(rng.choice("xyz") for _ in range(rng.randrange(1, 4)))
                    seconds = float(rng.randrange(1, 5))
                    changes.begin(KeysChanging(change, "s", keys, seconds))
                    plain[change] = keys, clock.monotonic() + seconds
                case 1:
                    changes.end(change)
                    plain.pop(change, None)
                    ended.add(change)
                case _:
                    clock.advance(rng.random())
            for key in "xyz":
                expected = any(key in keys and clock.monotonic() < until for keys, until in plain.values())
                assert changes.cover("s", key) == expected


def test_an_echo_that_comes_after_the_end_holds_nothing() -> None:
    changes = Changes(ManualClock())

    changes.end(CHANGING.change)
    assert not changes.begin(CHANGING)
    assert not changes.begin(KeysChanging("empty", "users", (), 30.0))
    assert len(changes) == 0


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e18])
def test_a_time_from_elsewhere_is_bounded(seconds: float) -> None:
    clock = ManualClock()
    changes = Changes(clock)
    assert changes.begin(KeysChanging("c", "users", ("a",), seconds))
    clock.advance(599)
    assert changes.cover("users", "a")
    clock.advance(2)
    assert not changes.cover("users", "a")
