"""One question: may a value stamped so be kept?"""

from __future__ import annotations

from async_hybrid_cache.loads import Load
from async_hybrid_cache.options import EffectiveOptions
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.scopes import Scopes
from async_hybrid_cache.tombstones import Tombstones
from async_hybrid_cache_codecs.events import (
    CacheCleared,
    InstanceStarted,
    KeysExpired,
    KeysRemoved,
    ScopeCleared,
    TagsInvalidated,
)
from tests.unit.core.clock import ManualClock


def at(offset: int) -> Position:
    return Position(1, offset)


def test_the_newest_of_key_scope_tags_and_everything_counts() -> None:
    stones = Tombstones()
    assert stones.newest("s", "k") == ORIGIN
    stones.place(KeysRemoved("s", ("k", "l")), at(3))
    stones.place(KeysExpired("s", ("e",)), at(4))
    stones.place(ScopeCleared("other"), at(5))
    stones.place(TagsInvalidated(("t",)), at(6))
    stones.place(InstanceStarted("i"), at(7))
    assert stones.newest("s", "k") == stones.newest("s", "l") == at(3)
    assert stones.newest("s", "e") == at(4)
    assert stones.newest("s", "x") == stones.newest("t", "t") == ORIGIN
    assert stones.newest("other", "anything") == at(5)
    assert stones.newest("s", "k", ("t", "u")) == at(6)
    stones.place(CacheCleared(), at(8))
    assert stones.newest("never", "seen") == at(8)


def test_a_replayed_older_event_lowers_nothing() -> None:
    stones = Tombstones()
    stones.place(KeysRemoved("s", ("k",)), at(5))
    stones.place(KeysRemoved("s", ("k",)), at(3))
    stones.place(CacheCleared(), at(2))
    stones.place(CacheCleared(), at(1))
    assert stones.newest("s", "k") == at(5)
    assert stones.newest("s", "x") == at(2)


def test_the_floor_rises_when_entries_leave() -> None:
    stones = Tombstones(max_entries=3)
    for number in range(1, 4):
        stones.place(KeysRemoved("s", (str(number),)), at(number))
    assert stones.floor == ORIGIN
    stones.place(KeysRemoved("s", ("1",)), at(4))
    stones.place(KeysRemoved("s", ("new",)), at(5))
    # "2" was the oldest left: below its position nothing is known any more
    assert stones.floor == at(2)
    assert stones.newest("s", "2") == ORIGIN
    assert stones.newest("s", "1") == at(4)
    for number in range(10_000):
        stones.place(KeysRemoved("s", (f"k{number}",)), at(6 + number))
    assert len(stones) == 3
    assert stones.floor == at(6 + 9996)


def test_a_reset_forgets_everything_below_its_position() -> None:
    stones = Tombstones()
    stones.place(KeysRemoved("s", ("k",)), at(3))
    stones.place(CacheCleared(), at(4))
    stones.reset(at(9))
    assert (len(stones), stones.floor, stones.newest("s", "k")) == (0, at(9), ORIGIN)


def test_what_may_be_kept() -> None:
    scopes = Scopes(ManualClock(), lambda: None)
    scopes.get("s", EffectiveOptions())
    scopes.apply(KeysRemoved("s", ("k",)), at(5))
    load, early = Load(at(6)), Load(at(2))
    assert scopes.may_keep("s", "k", at(5), load)
    assert not scopes.may_keep("s", "k", at(4), load)
    assert scopes.may_keep("s", "other", at(2), early)
    load.fenced = True
    assert not scopes.may_keep("s", "k", at(6), load)
    scopes.reset(at(7), "a gap")
    assert not scopes.may_keep("s", "other", at(6), early)
    assert scopes.may_keep("s", "other", at(7), Load(at(7)))


def test_an_event_fences_the_loads_that_began_before_it_and_no_others() -> None:
    scopes = Scopes(ManualClock(), lambda: None)
    scope = scopes.get("s", EffectiveOptions())
    scope.loads.update(old=Load(at(1)), new=Load(at(5)))
    scope.probes.update(old=Load(at(1)))
    scopes.apply(KeysRemoved("s", ("old", "new")), at(5))
    assert list(scope.loads) == ["new"]
    assert not scope.probes
    assert scopes.fenced == 2
    scopes.apply(CacheCleared(), at(6))
    assert not scope.loads
