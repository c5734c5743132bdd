"""What this process notes of a plain L2: its leases, its fills, and what is to be told of them."""

from __future__ import annotations

from async_hybrid_cache.plain.fills import Fills
from async_hybrid_cache.plain.leases import Leases
from async_hybrid_cache.plain.reports import Reports
from async_hybrid_cache.positions import ORIGIN, Position
from tests.unit.core.clock import ManualClock


def test_leases_are_bounded_and_end() -> None:
    clock = ManualClock()
    leases = Leases(clock.monotonic, max_leases=2)
    first = leases.take(("s", "1"), 10, "g")
    assert first is not None
    for number in "23":
        assert leases.take(("s", number), 10, "g")
    assert first.voided
    assert leases.live(("s", "1"), first.token) is None
    assert leases.take(("s", "3"), 10, "g") is None
    clock.advance(10)
    assert leases.take(("s", "3"), 10, "g")


def test_what_was_filled_is_remembered_within_bounds() -> None:
    fills = Fills(max_names=2)
    for offset, key in enumerate("123", 1):
        fills.begin(("s", key), Position(1, offset))
    fills.change(("s", "1"), Position(1, 9))
    assert fills.doubtful(9) == [], "the oldest fill is forgotten"
    fills.change(("s", "2"), Position(1, 2))
    assert fills.doubtful(9) == [], "no event overtakes what is stamped with it"
    fills.change(("s", "2"), Position(1, 3))
    for offset in (4, 2):
        fills.change(("s", "3"), Position(1, offset))
    assert fills.doubtful(9) == [(("s", "2"), Position(1, 3)), (("s", "3"), Position(1, 4))]
    assert fills.changed_at(("s", "3")) == Position(1, 4)
    assert fills.changed_at(("s", "1")) == ORIGIN, "the oldest change is forgotten"
    fills.settle(("s", "2"), Position(1, 2))
    fills.settle(("s", "3"), Position(1, 4))
    assert fills.doubtful(9) == [(("s", "2"), Position(1, 3))]
    fills.stored(("s", "2"), Position(1, 2))
    assert fills.doubtful(9)
    fills.stored(("s", "2"), Position(1, 3))
    assert not fills.doubtful(9)
    fills.begin(("s", "2"), Position(1, 4))
    fills.forget(("s", "2"))
    fills.stored(("s", "2"), Position(1, 4))
    fills.change(("s", "2"), Position(1, 5))
    assert fills.doubtful(9), "what was forgotten while it was under way is known again once it is there"


def test_what_was_found_is_told_once_a_little_later_and_never_lost() -> None:
    clock = ManualClock()
    reports = Reports(clock.monotonic, max_names=2)
    for key in "12":
        reports.add(("s", key), Position(1, 1))
    assert reports.take(all_of_them=False) == []
    reports.add(("s", "3"), Position(1, 5))
    assert reports.take(all_of_them=False) == [("s", "1")], "there was no room for it"
    clock.advance(0.3)
    reports.add(("s", "2"), Position(1, 1))
    reports.add(("s", "4"), Position(1, 5))
    reports.cancel(("s", "3"), Position(1, 6))
    reports.cancel(("s", "4"), Position(1, 5))
    reports.cancel(("s", "5"), Position(1, 5))
    assert reports.take(all_of_them=False) == [("s", "2")]
    assert reports.take(all_of_them=True) == [("s", "4")]
    assert reports.take(all_of_them=True) == []
