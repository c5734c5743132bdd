"""One file a process: who gets which, and a place where there can be none."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from async_hybrid_cache.snapshot.slot import FileSlot
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.warm import Counting, new_cache, snapshot_of


def test_each_process_has_a_file_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog("slots")

        for start in range(3):
            caches = [new_cache(log, tmp_path) for _ in range(4)]
            for cache in caches:
                await cache.start()
            found = sorted([str(await cache.get("me")) for cache in caches])
            assert found == (["0", "1", "2", "3"] if start else ["None"] * 4)
            for number, cache in enumerate(caches):
                await cache.get_or_set("me", Counting(number))
                await cache.stop()

    asyncio.run(scenario())
    assert len(list(tmp_path.iterdir())) == 8


def test_a_free_slot_with_a_file_comes_first_and_claims_leave_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "l1"
    held = [FileSlot.claim(path) for _ in range(4)]
    held[2].file.write_bytes(b"x")
    for slot in held[1:]:
        slot.release()
    for _ in range(5):
        again = FileSlot.claim(path)
        assert again.file == held[2].file
        again.release()
    held[2].file.unlink()
    for _ in range(5):
        again = FileSlot.claim(path)
        assert again.file == held[1].file
        again.release()
    held[0].release()
    assert len(list(tmp_path.iterdir())) == 4


def claimed(folder: Path) -> str:
    """The name of the file that a process would get now."""
    slot = FileSlot.claim(folder / "l1")
    slot.release()
    return slot.file.name


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_slot_outlives_no_process_that_was_forked_from_its_owner(tmp_path: Path) -> None:
    slot = FileSlot.claim(tmp_path / "l1")
    done, go = os.pipe()
    if not (pid := os.fork()):
        slot.release()
        os.read(done, 1)
        os._exit(0)
    try:
        # the child's release must not free it under its owner
        assert claimed(tmp_path) == "l1.1"
        slot.release()
        asyncio.run(eventually(lambda: claimed(tmp_path) == "l1.0"))
    finally:
        os.write(go, b"x")
        os.waitpid(pid, 0)
        os.close(done)
        os.close(go)


def test_a_place_that_cannot_be_written_costs_the_snapshot_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog("no-place")

        (tmp_path / "file").write_text("")
        async with new_cache(log, tmp_path / "file") as cache:
            assert await cache.get_or_set("k", Counting(1)) == 1
            assert snapshot_of(cache).failures == 1
            assert snapshot_of(cache).last_error
        folder = tmp_path / "folder"
        async with new_cache(log, folder, snapshot_seconds=0.02) as cache:
            (folder / "l1.0.new").mkdir()
            await eventually(lambda: snapshot_of(cache).failures)
            assert await cache.get_or_set("k", Counting(1)) == 1
            (folder / "l1.0.new").rmdir()
            await eventually(lambda: snapshot_of(cache).last_error is None)

    asyncio.run(scenario())


def test_a_folder_in_place_of_the_file_is_a_cold_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "l1.0").mkdir()
        async with new_cache(lambda: ScriptedLog("folder"), tmp_path) as cache:
            assert await cache.get("k") is None
            assert snapshot_of(cache).thrown_away == 1

    asyncio.run(scenario())
