"""The stream in good order: order, group commit, replay, checkpoints, heartbeats."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from async_hybrid_cache import FileCheckpointStore
from async_hybrid_cache.positions import ORIGIN
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared, InstanceSeen, InstanceStarted, InstanceStopped, KeysRemoved
from async_hybrid_cache_codecs.frames import open_frame
from tests.unit.core.recorder import Instance
from tests.unit.core.scripted_log import ScriptedLog


def removed(key: object) -> KeysRemoved:
    return KeysRemoved("scope", (str(key),))


def test_every_instance_applies_every_event_in_order() -> None:
    async def scenario() -> None:
        async with Instance(ScriptedLog("order")) as one, Instance(ScriptedLog("order")) as two:
            events = [removed(number) for number in range(100)]
            for event in events[:50]:
                one.stream.publish(event)
            await two.hears(*events[:50])
            for event in events[50:]:
                await two.publish(event)
            await one.hears(*events)
            assert one.resets == two.resets == []

    asyncio.run(scenario())


def test_an_acknowledgement_is_applied_at_once_and_its_echo_changes_nothing() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            log.deaf = True
            position = await one.publish(removed(1))
            assert (removed(1), position) in one.events
            assert one.stream.stamp == position > one.stream.reader.applied
            log.deaf = False
            await one.caught_up()
            assert {p for event, p in one.events if event == removed(1)} == {position}

    asyncio.run(scenario())


def test_two_hundred_concurrent_events_leave_in_a_few_frames_and_a_lone_one_at_once() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            before = len(log.records())
            await asyncio.gather(*[one.publish(removed(number)) for number in range(200)])
            assert len(log.records()) - before <= 2
            before = len(log.records())
            await one.publish(removed("lone"))
            assert len(log.records()) - before == 1
            sequences = [frame for record in log.records() for frame in [open_frame(record.data)]]
            assert [f.first for f in sequences][1:] == [f.last + 1 for f in sequences][:-1]

    asyncio.run(scenario())


@pytest.mark.parametrize(("most_events", "most_bytes"), [(10, 256 * 1024), (512, 500)])
def test_frames_are_bounded_in_count_and_bytes(most_events: int, most_bytes: int) -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log, frame_max_events=most_events, frame_max_bytes=most_bytes) as one:
            await asyncio.gather(*[one.publish(removed(f"{number:040}")) for number in range(100)])
            for record in log.records():
                assert len(open_frame(record.data).events) <= most_events
                assert len(record.data) <= most_bytes + 200

    asyncio.run(scenario())


def test_an_instance_says_when_it_starts_lives_and_stops() -> None:
    async def scenario() -> None:
        async with Instance(ScriptedLog("life")) as one:
            async with Instance(ScriptedLog("life"), heartbeat_seconds=0.02, instance_id="two"):
                await eventually(lambda: any(isinstance(event, InstanceSeen) for event, _ in one.events))
            await eventually(lambda: any(event == InstanceStopped("two") for event, _ in one.events))
            kinds = [type(event) for event, _ in one.events if event.instance == "two"]  # type: ignore[union-attr]
            assert kinds[0] is InstanceStarted
            assert kinds[-1] is InstanceStopped
            seen = next(event for event, _ in one.events if isinstance(event, InstanceSeen))
            assert seen.position > ORIGIN

    asyncio.run(scenario())


def test_an_instance_that_is_asked_while_it_says_goodbye_is_silent_afterwards() -> None:
    async def scenario() -> None:
        log = ScriptedLog("goodbye")
        async with Instance(ScriptedLog("goodbye")) as one:
            async with Instance(log, instance_id="two") as two:

                def ask(record: bytes, id: str) -> None:
                    log.on_append = None
                    two.stream.writer.answer()

                log.on_append = ask
            await eventually(lambda: any(event == InstanceStopped("two") for event, _ in one.events))
            assert [type(event) for event, _ in one.events][-1] is InstanceStopped
            assert len(log.records()) == 3  # two starts and the goodbye

    asyncio.run(scenario())


def test_no_heartbeat_is_sent_while_there_is_something_to_say() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log, heartbeat_seconds=30.0) as one:
            await one.publish(removed(1))
            assert len(log.records()) == 2

    asyncio.run(scenario())


def test_a_starting_instance_learns_from_the_recent_log() -> None:
    async def scenario() -> None:
        async with Instance(ScriptedLog("recent")) as one:
            events = [removed(number) for number in range(20)]
            for event in events:
                last = await one.publish(event)
            async with Instance(ScriptedLog("recent")) as two:
                assert two.changes() == events
                assert two.attached[0] > last
                assert two.resets == []
                assert two.stream.reader.replayed == 0
            async with Instance(ScriptedLog("recent"), replay_records=5) as three:
                assert 0 < len(three.changes()) <= 5
                assert three.floors[0].offset > 10

    asyncio.run(scenario())


def test_a_restart_resumes_at_its_checkpoint_and_counts_what_it_replayed(tmp_path: Path) -> None:
    async def scenario() -> None:
        options = {"instance_id": "worker", "checkpoints": FileCheckpointStore(tmp_path), "replay_records": 0}
        async with Instance(ScriptedLog("resume")) as other:
            async with Instance(ScriptedLog("resume"), **options) as first:
                await other.publish(removed("before"))
                await first.hears(removed("before"))
            missed = [removed(number) for number in range(30)]
            for event in missed:
                await other.publish(event)
            async with Instance(ScriptedLog("resume"), **options) as second:
                # exactly what was missed: applied once, nothing from before
                assert second.changes() == missed
                assert second.resets == []
                assert second.stream.reader.gaps == 0
                assert second.stream.reader.replayed == 31  # and its own goodbye
                assert second.stream.reader.duplicates == 0

    asyncio.run(scenario())


def test_a_killed_instance_resumes_at_its_last_checkpoint(tmp_path: Path) -> None:
    async def scenario() -> None:
        options = {"instance_id": "worker", "replay_records": 0, "checkpoint_seconds": 0.02, "lease_seconds": 0.2}
        async with Instance(ScriptedLog("killed")) as other:
            first = Instance(ScriptedLog("killed"), checkpoints=FileCheckpointStore(tmp_path), **options)
            await first.stream.start(5.0)
            position = await other.publish(removed("before"))
            assert first.stream.keeper is not None
            await eventually(lambda: first.stream.keeper.saved and first.stream.keeper.saved.offset >= position.offset)
            # as a kill would: nothing is said and nothing is written
            first.stream.tasks.cancel()
            await other.publish(removed("missed"))
            async with Instance(ScriptedLog("killed"), checkpoints=FileCheckpointStore(tmp_path), **options) as second:
                assert second.changes() == [removed("missed")]
                assert second.stream.reader.replayed == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["trim", "delete"])
def test_a_log_that_cannot_be_resumed_is_a_counted_gap(tmp_path: Path, fault: str) -> None:
    async def scenario() -> None:
        options = {"instance_id": "worker", "checkpoints": FileCheckpointStore(tmp_path)}
        log = ScriptedLog(f"unresumable-{fault}")
        async with Instance(log) as other:
            async with Instance(ScriptedLog(f"unresumable-{fault}"), **options):
                pass
            for number in range(30):
                await other.publish(removed(number))
            if fault == "trim":
                log.trim(keep=5)
            else:
                log.delete()
                await eventually(lambda: other.stream.reader.gaps == 1)
                await other.publish(removed("after"))
            async with Instance(ScriptedLog(f"unresumable-{fault}"), **options) as second:
                assert second.stream.reader.gaps == 1
                assert "since the checkpoint" in str(second.stream.reader.last_gap)
                assert second.attached
                await other.publish(CacheCleared())
                await eventually(lambda: CacheCleared() in second.changes())

    asyncio.run(scenario())


def test_who_returns_to_a_log_that_lost_what_it_had_seen_tells_the_others(tmp_path: Path) -> None:
    """Nobody who saw the lost tail lives, and no sequence has a hole: only a checkpoint knows."""

    async def scenario() -> None:
        options = {"instance_id": "worker", "checkpoints": FileCheckpointStore(tmp_path)}
        log = ScriptedLog("lost-while-away")
        async with Instance(log) as writer, Instance(ScriptedLog("lost-while-away"), **options) as witness:
            await writer.publish(removed("a"))
            await eventually(lambda: removed("a") in witness.changes())
        log.lose_tail(3)
        async with Instance(ScriptedLog("lost-while-away")) as unaware:
            await unaware.publish(removed("b"))
            before = unaware.stream.reader.gaps
            async with Instance(ScriptedLog("lost-while-away"), **options) as returned:
                assert returned.stream.reader.gaps == 1
                await eventually(lambda: unaware.stream.reader.gaps == before + 1)
                await unaware.publish(removed("c"))
                await eventually(lambda: removed("c") in returned.changes())

    asyncio.run(scenario())


def test_an_aged_out_checkpoint_at_the_very_end_is_intact(tmp_path: Path) -> None:
    """Same epoch and position == last: nothing can have been missed, even where the record itself is gone."""

    async def scenario() -> None:
        options = {"instance_id": "worker", "checkpoints": FileCheckpointStore(tmp_path)}
        log = ScriptedLog("aged-out")
        await log.open()
        async with Instance(ScriptedLog("aged-out"), **options):
            pass
        log._records.held.clear()
        log._records.offsets.clear()
        log._records.first = log._records.last + 1
        async with Instance(ScriptedLog("aged-out"), **options) as second:
            # its goodbye came after the position that was kept, or was kept with it
            assert second.stream.reader.gaps <= 1
            assert second.attached

    asyncio.run(scenario())


def test_checkpoints_that_cannot_be_kept_stop_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = tmp_path / "folder"
        store = FileCheckpointStore(folder)
        async with Instance(ScriptedLog(), instance_id="w", checkpoints=store, checkpoint_seconds=0.01) as one:
            await eventually(lambda: len(list(folder.glob("*.checkpoint"))) == 2)
            shutil.rmtree(folder)
            folder.write_text("in the way")
            await one.publish(removed(1))
            await eventually(lambda: "checkpoint" in one.stream.link.troubles)
            await one.publish(removed(2))
            assert one.stream.link.down_since is None
            folder.unlink()
            await one.publish(removed(3))
            await eventually(lambda: "checkpoint" not in one.stream.link.troubles)

    asyncio.run(scenario())


def test_checkpoints_that_are_away_at_the_start_hold_up_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = tmp_path / "folder"
        folder.write_text("in the way")
        options = {"instance_id": "w", "checkpoints": FileCheckpointStore(folder), "checkpoint_seconds": 0.01}
        async with Instance(ScriptedLog("away-at-start"), **options) as one:
            assert one.attached
            await eventually(lambda: "checkpoint" in one.stream.link.troubles)
            folder.unlink()
            await eventually(lambda: "checkpoint" not in one.stream.link.troubles)
        async with Instance(ScriptedLog("away-at-start"), **options) as two:
            assert two.stream.reader.checkpoint is not None

    asyncio.run(scenario())


def test_an_ended_task_is_a_trouble_and_begun_again() -> None:
    async def scenario() -> None:
        async with Instance(ScriptedLog("ended-task")) as one, Instance(ScriptedLog("ended-task")) as two:
            for task in asyncio.all_tasks():
                if task.get_name() == "async-hybrid-cache reader":
                    task.cancel()
            await eventually(lambda: "reader" in two.stream.link.troubles)
            assert "ended by somebody else" in str(two.stream.link.troubles["reader"][1])
            await one.publish(removed(1))
            await two.hears(removed(1))
            assert two.stream.link.troubles == {}

    asyncio.run(scenario())
