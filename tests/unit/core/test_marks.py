"""Per-origin high-water marks."""

from __future__ import annotations

import pytest

from async_hybrid_cache.stream.marks import Marks, Verdict
from async_hybrid_cache_codecs.events import CacheCleared
from async_hybrid_cache_codecs.frames import OpenedFrame


def frame(first: int, last: int, origin: str = "o") -> OpenedFrame:
    return OpenedFrame(1, origin, first, 0, (CacheCleared(),) * (last - first + 1))


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [
        (11, 11, Verdict.NEXT),
        (11, 15, Verdict.NEXT),
        (9, 12, Verdict.NEXT),
        (1, 10, Verdict.DUPLICATE),
        (10, 10, Verdict.DUPLICATE),
        (12, 12, Verdict.HOLE),
    ],
)
def test_a_known_origin(first: int, last: int, verdict: Verdict) -> None:
    marks = Marks()
    marks.mark("o", 10)
    for strangers in (True, False):
        assert marks.judge(frame(first, last), strangers=strangers) is verdict


def test_an_unknown_origin() -> None:
    marks = Marks()
    assert marks.judge(frame(1, 3), strangers=False) is Verdict.NEXT
    assert marks.judge(frame(7, 8), strangers=True) is Verdict.NEXT
    assert marks.judge(frame(7, 8), strangers=False) is Verdict.HOLE


def test_a_mark_never_goes_back() -> None:
    marks = Marks()
    marks.mark("o", 10)
    marks.mark("o", 4)
    assert marks.get("o") == 10
    assert marks.get("other") == 0


def test_the_least_recently_heard_origin_leaves_first() -> None:
    marks = Marks(max_origins=3)
    for origin in "abc":
        marks.mark(origin, 1)
    marks.mark("a", 2)
    marks.mark("d", 1)
    assert len(marks) == 3
    assert marks.dump() == {"c": 1, "a": 2, "d": 1}


def test_a_checkpoint_restores_them() -> None:
    marks = Marks()
    marks.mark("a", 7)
    restored = Marks()
    restored.mark("stale", 1)
    restored.load(marks.dump())
    assert restored.dump() == {"a": 7}


def test_a_hole_that_is_known_of_is_forgiven_once_for_each_origin() -> None:
    marks = Marks()
    marks.mark("a", 5)
    marks.mark("b", 5)
    marks.forgive()
    assert marks.judge(frame(4, 5, "a"), strangers=False) is Verdict.DUPLICATE
    assert marks.judge(frame(9, 9, "a"), strangers=False) is Verdict.NEXT
    marks.mark("a", 9)
    assert marks.judge(frame(12, 12, "a"), strangers=False) is Verdict.HOLE
    assert marks.judge(frame(12, 12, "b"), strangers=False) is Verdict.NEXT
    assert marks.judge(frame(12, 12, "c"), strangers=False) is Verdict.HOLE
    marks.forgive()
    marks.forgive_no_more()
    assert marks.judge(frame(12, 12, "a"), strangers=False) is Verdict.HOLE
