"""Which epoch is in force, by markers that race, and by writers that have not heard of them."""

from __future__ import annotations

from itertools import permutations

from async_hybrid_cache_brokers.kafka.epochs import Claim, Entry, View

NOTHING = Claim(0, -1, -1)


def marker(offset: int, epoch: int, claim: Claim) -> Entry:
    return Entry(offset, f"marker-{offset}", b"", claim, epoch)


def record(offset: int, claim: Claim | None) -> Entry:
    return Entry(offset, f"id-{offset}", b"data", claim)


def seen(*entries: Entry, since: Claim = NOTHING) -> View:
    view = View(since)
    view.advance(entries)
    return view


def test_of_markers_that_race_the_first_one_wins() -> None:
    for epochs in permutations((70, 80, 90)):
        view = seen(*(marker(offset, epoch, NOTHING) for offset, epoch in enumerate(epochs)))
        assert view.claim == Claim(epochs[0], 0, 2)
        assert view.anchor == "marker-2"


def test_a_marker_begins_its_epoch_where_its_writer_had_seen_the_last_one() -> None:
    first = Claim(70, 0, 0)
    entries = [marker(0, 70, NOTHING), record(1, first), marker(2, 80, Claim(70, 0, 1)), record(3, Claim(80, 2, 2))]
    assert seen(*entries).claim == Claim(80, 2, 3)
    late = [*entries, marker(4, 90, Claim(70, 0, 1)), record(5, first)]
    assert seen(*late).claim == Claim(80, 2, 5), "a loser of the race, and a record behind its epoch, change nothing"


def test_who_joins_anywhere_comes_to_the_same_verdict() -> None:
    entries = [
        marker(0, 70, NOTHING),
        record(1, Claim(70, 0, 0)),
        marker(2, 80, Claim(70, 0, 0)),
        marker(3, 85, Claim(70, 0, 1)),
        record(4, Claim(80, 2, 3)),
        record(5, None),
        marker(6, 90, Claim(80, 2, 4)),
        record(7, Claim(80, 2, 5)),
    ]
    assert seen(*entries).claim == Claim(90, 6, 7)
    for entry in entries[1:]:
        claim = entry.trusted
        if claim is not None:
            assert seen(*entries[claim.verified + 1 :], since=claim).claim == Claim(90, 6, 7)


def test_a_marker_after_everything_was_lost_holds_for_those_who_remember_too() -> None:
    founding = marker(6, 80, Claim(0, -1, 5))
    assert seen(founding, since=Claim(0, -1, 5)).claim == Claim(80, 6, 6)
    assert seen(founding, since=Claim(70, 0, 5)).claim == Claim(80, 6, 6)


def test_what_cannot_be_of_this_topic_is_not_believed() -> None:
    # a writer to whom nobody has told that the topic was made anew
    assert record(3, Claim(90, 0, 3)).trusted is None
    assert record(3, Claim(90, 5, 2)).trusted is None
    view = seen(marker(0, 70, NOTHING), record(1, Claim(90, 0, 8)), marker(2, 95, Claim(90, 0, 8)))
    assert view.claim == Claim(70, 0, 2)


def test_a_larger_epoch_that_others_write_in_is_taken_over() -> None:
    view = seen(record(4, Claim(80, 2, 3)), since=Claim(70, 0, 3))
    assert view.claim == Claim(80, 2, 4)
    assert seen(record(4, Claim(60, 0, 3)), since=Claim(70, 0, 3)).claim == Claim(70, 0, 4)


def test_entries_are_taken_in_order_and_once() -> None:
    view = seen(marker(0, 70, NOTHING))
    view.advance([record(2, None)])
    assert view.verified == 0, "there is a hole before it"
    view.advance([marker(0, 80, NOTHING), record(1, None), record(2, None), record(4, None)])
    assert view.claim == Claim(70, 0, 2)
