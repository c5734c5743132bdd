"""The checker finds each kind of broken promise in a history made by hand, and nothing in the same one kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faultrun.checker import judge_reads
from tests.faultrun.events import judge_events
from tests.faultrun.history import Barred, Broke, Counted, Entry, Paused, Read, Recorder, Served, Told, Wrote, read_back
from tests.faultrun.record import Life, Record
from tests.faultrun.report import make_report
from tests.faultrun.setup import KEYS, WORKERS, marker_of, scope_of

STRICT, SHIPPED = 0, 4  # keys of worker 0 with bounds of 2 s and of 10 s
ALL = range(WORKERS)


def lives(*entries: tuple[int, Entry]) -> list[Life]:
    """One life for each worker, served since 0.5, and what each noted."""
    found = [Life(worker, 0) for worker in ALL]
    for life in found:
        life.add(Served(0.0, 0.5))
    for worker, entry in entries:
        found[worker].add(entry)
    return found


def judged(*entries: tuple[int, Entry], faults: Sequence[Broke] = ()) -> list[str]:
    """The promises that reads broke."""
    return [each.promise for each in judge_reads(Record(lives(*entries), list(faults)))]


def missed(*entries: tuple[int, Entry], faults: Sequence[Broke] = ()) -> tuple[list[str], int]:
    """The promises that silence broke, and how many losses were announced."""
    found = judge_events(Record(lives(*entries), list(faults)))
    return [each.promise for each in found.violations], len(found.announced)


def write(at: float, key: int = STRICT, version: int = 1, offset: int | None = 1, verb: str = "remove") -> Wrote:
    """A write that returned at `at`, queued where it has no offset."""
    return Wrote(at - 0.1, at, key, version, verb, None if offset is None else (7, offset))


def read(at: float, key: int = STRICT, version: int = 0, at_least: int = -1, ended: float | None = None) -> Read:
    """A read that began at `at`, and took a millisecond unless told otherwise."""
    return Read(at, ended or at + 0.001, key, version, at_least)


def told(at: float, offset: int, key: int = STRICT, version: int = 1, epoch: int = 7) -> Told:
    """The event of a `remove`."""
    return Told(at, (epoch, offset), scope_of(key), (str(key), marker_of(key, version)))


def gap(at: float, offset: int, epoch: int = 7) -> Told:
    return Told(at, (epoch, offset), None, (), "trimmed")


def broke(began: float, ended: float, worker: int | None = None, forgets: float = 0.0) -> Broke:
    return Broke("link cut", worker, began, ended, forgets)


def test_the_newest_version_breaks_nothing() -> None:
    assert judged((0, write(10)), *((worker, read(at, version=1)) for worker in ALL for at in (10.5, 20))) == []


def test_an_old_version_may_be_read_for_two_seconds() -> None:
    assert judged((0, write(10)), (1, read(11.9))) == []


def test_promise_1_an_old_version_after_two_seconds() -> None:
    assert judged((0, write(10, SHIPPED)), (1, read(12.1, SHIPPED))) == ["1"]


def test_promise_1_what_a_subscriber_was_told_counts_as_acknowledged() -> None:
    queued = write(10, SHIPPED, offset=None)
    assert judged((0, queued), (1, read(14, SHIPPED))) == []
    assert judged((0, queued), (2, told(11, 5, SHIPPED)), (1, read(14, SHIPPED))) == ["1"]


def test_promise_1_a_writer_that_was_killed_may_have_been_heard() -> None:
    assert judged((2, told(11, 5, SHIPPED)), (1, read(14, SHIPPED))) == ["1"]


def test_promise_1_begins_when_the_fault_ends() -> None:
    for fault in (broke(9, 12), broke(9, 12, worker=1)):
        assert judged((0, write(10, SHIPPED)), (1, read(13.9, SHIPPED)), faults=[fault]) == []
        assert judged((0, write(10, SHIPPED)), (1, read(14.1, SHIPPED)), faults=[fault]) == ["1"]


def test_promise_1_a_fault_of_another_process_is_no_excuse() -> None:
    assert judged((0, write(10, SHIPPED)), (1, read(13, SHIPPED)), faults=[broke(9, 12, worker=2)]) == ["1"]


def test_promise_1_begins_when_the_process_runs_again() -> None:
    pause = Paused(12, 3)
    assert judged((0, write(10, SHIPPED)), (1, pause), (1, read(13.9, SHIPPED))) == []
    assert judged((0, write(10, SHIPPED)), (1, pause), (1, read(14.1, SHIPPED))) == ["1"]


def test_promise_1_waits_for_what_a_log_that_went_back_may_have_forgotten() -> None:
    fault = broke(9, 12, forgets=12)
    assert judged((0, write(10, SHIPPED)), (1, read(15, SHIPPED)), faults=[fault]) == []
    # nor need its writer have noticed when it was reachable again
    assert judged((0, write(13.9, SHIPPED)), (1, read(17, SHIPPED)), faults=[fault]) == []
    assert judged((0, write(14.1, SHIPPED)), (1, read(17, SHIPPED)), faults=[fault]) == ["1"]
    assert judged((0, write(10, SHIPPED)), (1, read(24.1, SHIPPED)), faults=[fault]) == ["3"]
    assert judged((0, write(8, SHIPPED)), (1, read(15, SHIPPED)), faults=[fault]) == ["1"]


def test_promise_3_holds_whatever_is_wrong() -> None:
    cut = broke(5, 40)
    assert judged((0, write(10)), (1, read(11.9)), faults=[cut]) == []
    assert judged((0, write(10)), (1, read(12.1)), faults=[cut]) == ["3"]
    assert judged((0, write(10, SHIPPED)), (1, read(19.9, SHIPPED)), faults=[cut]) == []
    assert judged((0, write(10, SHIPPED)), (1, read(20.1, SHIPPED)), faults=[cut]) == ["3"]


def test_promise_3_counts_from_the_first_of_the_reads_that_may_share_a_load() -> None:
    first, second = read(11, ended=12.5), read(12.4)
    assert judged((0, write(10)), (1, first), (1, second), faults=[broke(5, 40)]) == []
    assert judged((0, write(10)), (2, first), (1, second), faults=[broke(5, 40)]) == ["3"]


def test_promise_3_a_load_that_had_ended_before_a_read_began_is_not_shared() -> None:
    first, second, third = read(9.9, ended=11), read(10.9, ended=12), read(11.95, ended=12.5)
    cut = broke(5, 40)
    assert judged((0, write(9)), (1, first), (1, second), (1, third), faults=[cut]) == []
    assert judged((0, write(8.8)), (1, first), (1, second), (1, third), faults=[cut]) == ["3"]


def test_promise_3_is_judged_by_the_oldest_version_that_is_missing() -> None:
    entries = (0, write(10)), (0, write(13, version=2, offset=2)), (1, read(13.5))
    assert judged(*entries, faults=[broke(5, 40)]) == ["3"]


def test_promise_4_its_own_writes_queued_or_not() -> None:
    for offset in (1, None):
        assert judged((0, write(10, offset=offset)), (0, read(10.001))) == ["4"]
        assert judged((0, write(10, offset=offset)), (0, read(9.999))) == []


def test_promise_4_a_read_at_a_position() -> None:
    assert judged((0, write(10)), (1, read(10.001, at_least=1))) == ["4"]
    assert judged((0, write(10)), (1, read(10.001, version=1, at_least=1))) == []


def test_promise_4_after_a_barrier() -> None:
    assert judged((0, write(10)), (0, Barred(10.2, STRICT, 1)), (1, read(10.3))) == ["4"]
    assert judged((0, write(10)), (0, Barred(10.2, STRICT, 1)), (1, read(10.1))) == []


def test_promise_7_what_was_acknowledged_before_the_start_is_served_at_once() -> None:
    before = lives((0, write(10, SHIPPED)))
    second = Life(1, 1)
    for entry in (Served(10.5, 11.0), read(11.1, SHIPPED)):
        second.add(entry)
    death = broke(9, 11.01, worker=1)
    assert [each.promise for each in judge_reads(Record([*before, second], [death]))] == ["7"]
    assert judge_reads(Record([*before, second], [death, broke(10.9, 11.2)])) == []


def test_promise_7_what_its_former_life_wrote_is_not_forgotten() -> None:
    for offset in (1, None):
        for returned, forgets, broken in ((10, 0, ["7"]), (10, 12, []), (8.9, 12, ["7"])):
            first = lives((1, write(returned, SHIPPED, offset=offset)))
            second = Life(1, 1)
            for entry in (Served(10.5, 11.0), read(11.1, SHIPPED), read(11.2, SHIPPED, version=1)):
                second.add(entry)
            faults = [broke(9, 30, forgets=forgets)]
            assert [each.promise for each in judge_reads(Record([*first, second], faults))] == broken


def test_promise_9_a_read_that_raises() -> None:
    failed = Read(10, 10.5, STRICT, -1, -1, "OSError()")
    assert judged((1, failed)) == ["9"]
    assert judged((1, failed), (1, Paused(10.4, 6))) == []


def test_promise_9_a_read_that_keeps_its_caller_waiting() -> None:
    assert judged((1, read(10, ended=21.9))) == []
    assert judged((1, read(10, ended=22.1))) == ["9"]
    assert judged((1, read(10, ended=22.1)), (1, Paused(14.9, 4))) == []


def everybody(*entries: Entry, but: int) -> list[tuple[int, Entry]]:
    return [(worker, entry) for worker in ALL if worker != but for entry in entries]


def test_an_event_that_everybody_was_told_of_is_not_lost() -> None:
    assert missed((0, write(10)), *((worker, told(10.1, 1)) for worker in ALL)) == ([], 0)


def test_an_event_that_one_subscriber_was_not_told_of_is_lost() -> None:
    others = everybody(told(10.1, 1), but=2)
    assert missed((0, write(10)), *others) == (["1"], 0)
    assert missed((0, write(10)), *others, (2, told(11, 2, version=2))) == (["1"], 0)


def test_a_gap_excuses_what_lay_in_its_place() -> None:
    others = everybody(told(10.1, 1), but=2)
    assert missed((0, write(10)), *others, (2, gap(11, 3)), (2, told(11, 3, version=3))) == ([], 1)
    assert missed((0, write(10)), *others, (2, gap(11, 1, epoch=8))) == ([], 1)


def test_a_gap_elsewhere_excuses_nothing() -> None:
    others = everybody(told(10.1, 2), but=2)
    behind = (2, told(10.5, 3, version=3)), (2, gap(11, 5)), (2, told(11, 5, version=5))
    assert missed((0, write(10, offset=2)), *others, *behind) == (["1"], 0)
    before = (2, gap(8, 1)), (2, told(8, 1, version=9)), (2, told(10.5, 3, version=3))
    assert missed((0, write(10, offset=2)), *others, *before) == (["1"], 0)


def test_a_log_that_went_back_may_tell_of_the_gap_later() -> None:
    others = everybody(told(10.1, 2), but=2)
    late = (2, told(10.5, 3, version=3)), (2, gap(11, 5))
    went_back = broke(9, 10.4, forgets=12)
    assert missed((0, write(10, offset=2)), *others, *late, faults=[went_back]) == ([], 1)
    assert missed((0, write(8, offset=2)), *others, *late, faults=[went_back]) == (["1"], 0)


def test_what_took_the_place_of_a_lost_event_may_be_lost_with_it() -> None:
    others = everybody(told(10.6, 2), but=2)
    lost_one = (2, told(10.52, 3, version=3))
    went_back = broke(9, 10.4, forgets=12)
    assert missed((0, write(10.6, offset=2)), *others, lost_one, (2, gap(11, 0, epoch=8)), faults=[went_back]) == (
        [],
        1,
    )
    assert missed((0, write(10.6, offset=2)), *others, lost_one, (2, gap(23, 0, epoch=8)), faults=[went_back]) == (
        ["1"],
        0,
    )


def test_promise_6_what_was_queued_and_never_told_is_lost() -> None:
    assert missed((0, write(10, offset=None))) == (["6"] * WORKERS, 0)
    assert missed((0, write(10, offset=None)), *((worker, told(15, 4)) for worker in ALL)) == ([], 0)


def test_promise_6_a_gap_excuses_a_queued_write_only_while_that_may_have_been_in_the_log() -> None:
    queued = write(10, offset=None)
    told_at_14, told_at_16, told_at_24 = ([(worker, gap(at, 1)) for worker in ALL] for at in (14, 16, 24))
    assert missed((0, queued), *told_at_14) == ([], WORKERS)
    assert missed((0, queued), *told_at_16) == (["6"] * WORKERS, 0)
    assert missed((0, queued), *told_at_16, faults=[broke(9, 11.5)]) == ([], WORKERS)
    assert missed((0, queued), *told_at_24, faults=[broke(9, 11.5)]) == (["6"] * WORKERS, 0)
    assert missed((0, queued), *told_at_24, faults=[broke(9, 11.5), broke(15, 19.5)]) == ([], WORKERS)
    assert missed((0, queued), *told_at_24, faults=[broke(9, 11.5, forgets=12)]) == ([], WORKERS)


@pytest.mark.parametrize("verb", ["set", "clear"])
def test_promise_6_a_queued_set_or_clear_that_was_never_told(verb: str) -> None:
    keys = (str(STRICT),) if verb == "set" else ()
    queued = write(10, offset=None, verb=verb)
    before, after = (Told(at, (7, 1), "strict", keys) for at in (9.8, 15))
    assert missed((0, queued), *((worker, before) for worker in ALL)) == (["6"] * WORKERS, 0)
    assert missed((0, queued), *((worker, after) for worker in ALL)) == ([], 0)


def test_promise_6_a_write_that_raises() -> None:
    assert missed((0, Wrote(9, 10, STRICT, 1, "remove", None, "OSError()"))) == (["6"], 0)


def test_promise_6_a_queued_write_that_one_subscriber_missed() -> None:
    assert missed((0, write(10, offset=None)), *everybody(told(15, 4), but=3)) == (["1"], 0)


@pytest.mark.parametrize("verb", ["set", "clear"])
def test_sets_and_clears_are_known_by_their_position(verb: str) -> None:
    keys = (str(STRICT),) if verb == "set" else ()
    event = Told(10.1, (7, 1), "strict", keys)
    assert missed((0, write(10, verb=verb)), *((worker, event) for worker in ALL)) == ([], 0)
    assert missed((0, write(10, verb=verb)), *everybody(event, but=1)) == (["1"], 0)


def busy(*, fenced: int, refused: int, replayed: int, every: float = 0.001) -> Record:
    """Two seconds of reads, a fault in the middle, and some counters."""
    counters = {"resets": 0, "fenced": fenced, "refused": refused, "replayed": replayed}
    reads = [(1, read(1 + number * every, key=number % KEYS)) for number in range(round(2 / every))]
    entries = [(0, write(1.0)), (0, write(3.0, version=2, offset=2)), (0, Counted(2.5, counters)), *reads]
    entries += [(0, Barred(3.0, STRICT, 2)), (1, read(3.0, version=2, at_least=2))]
    events = [(worker, told(at, offset, version=offset)) for worker in ALL for at, offset in ((1.0, 1), (3.0, 2))]
    return Record(lives(*entries, *events), [broke(2.0, 2.2)])


def test_a_run_that_tried_everything_passes() -> None:
    report = make_report(busy(fenced=1, refused=1, replayed=1), "redis", 1, None)
    assert (report.status, report.violations, report.void) == (0, [], [])
    (row,) = (row for row in report.rows if row.name == "link cut")
    assert (row.times, row.fenced, row.refused, row.replayed) == (1, 1, 1, 1)
    assert "0 violations" in str(report)


@pytest.mark.parametrize("never", ["fenced", "refused", "replayed"])
def test_a_run_in_which_something_never_happened_is_void(never: str) -> None:
    counters = {"fenced": 1, "refused": 1, "replayed": 1, never: 0}
    report = make_report(busy(**counters), "redis", 1, None)
    assert report.status == 2
    assert f"VOID: nothing was {never}" in str(report)


def test_a_run_without_load_is_void() -> None:
    report = make_report(busy(fenced=1, refused=1, replayed=1, every=0.05), "redis", 1, None)
    assert report.status == 2
    assert "operations a second" in str(report)


def test_a_run_without_faults_is_void() -> None:
    record = busy(fenced=1, refused=1, replayed=1)
    record.faults.clear()
    assert "nothing was broken" in make_report(record, "redis", 1, None).void


def test_a_run_without_barriers_or_reads_at_a_position_is_void() -> None:
    record = busy(fenced=1, refused=1, replayed=1)
    record.lives[0].barred.clear()
    assert make_report(record, "redis", 1, None).void == ["no barrier returned"]
    record = busy(fenced=1, refused=1, replayed=1)
    del record.lives[1].reads[-1]
    assert make_report(record, "redis", 1, None).void == ["nothing was read at a position"]


def test_a_violation_outweighs_void_and_is_shown_with_the_seed() -> None:
    report = make_report(Record(lives((0, write(10)), (0, read(10.1))), []), "redis", 41, None)
    assert report.status == 1
    assert "VIOLATED promise 4: worker 0 (life 0) read version 0 of key 0 at 10.100" in str(report)
    assert "seed 41" in str(report)


def test_a_history_ends_before_a_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "history-0-000"
    entries = [Served(0.0, 0.5), read(1.0), write(2.0), told(3.0, 1), gap(4.0, 2), broke(5, 6, worker=3)]
    recorder = Recorder(path)
    for entry in entries:
        recorder.note(entry)
    with path.open("ab") as file:
        file.write(b'["Read",1.0')
    assert list(read_back(path)) == entries
