"""Deletes in L2 still to be done."""

from __future__ import annotations

from async_hybrid_cache.late import LateDeletes
from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared


def test_keys_scopes_and_everything() -> None:
    late = LateDeletes()
    assert not late
    late.add_keys("a", ("1", "2", "1"))
    late.add_keys("b", ("1",))
    assert (len(late), late.covers("a", "1"), late.covers("a", "3")) == (3, True, False)
    late.add_scope("a")
    assert late.covers("a", "3")
    late.add_keys("a", ("4",))
    assert late.events() == [ScopeCleared("a"), KeysRemoved("b", ("1",))]
    late.add_scope(None)
    late.add_keys("c", ("1",))
    assert late.covers("anything", "at all")
    assert late.events() == [CacheCleared()]
    assert len(late) == 1


def test_it_stays_bounded_and_covers_all_that_was_added() -> None:
    late = LateDeletes()
    for number in range(10_001):
        late.add_keys("s", (str(number),))
    assert late.events() == [ScopeCleared("s")]
    assert late.covers("s", "5")
    for number in range(1_001):
        late.add_scope(f"scope {number}")
    assert late.events() == [CacheCleared()]


def test_what_could_not_be_done_is_added_again() -> None:
    late, again = LateDeletes(), LateDeletes()
    late.add_keys("a", ("1",))
    late.add_scope("b")
    for event in late.events():
        again.add(event)
    assert again.events() == late.events()
    again.add(CacheCleared())
    assert again.events() == [CacheCleared()]
