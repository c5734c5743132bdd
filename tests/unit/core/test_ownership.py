"""Leases and slots: one holder, who is replaced when it is silent, and seen to be gone when it is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache import (
    Checkpoint,
    CheckpointConflict,
    CheckpointError,
    CheckpointStore,
    FileCheckpointStore,
    StreamOptions,
    SystemClock,
)
from async_hybrid_cache.ownership import Document, Lease, Standing, StoreUse, claim_slot, process, slot_name
from async_hybrid_cache.ownership.process import process_is_gone, this_process
from async_hybrid_cache.stream.keeper import Keeper
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.clock import ManualClock
from tests.unit.core.memory_checkpoints import MemoryCheckpoints


def lease(store: CheckpointStore, owner: str, clock: ManualClock) -> Lease:
    return Lease(StoreUse(store, 1.0), "name", owner=owner, seconds=3.0, clock=clock)


async def slot_of(store: CheckpointStore, owner: str, seconds: float = 0.3) -> Any:
    return await claim_slot(StoreUse(store, 1.0), "slots", owner=owner, seconds=seconds, clock=SystemClock())


def test_a_lease_has_one_holder_until_it_lets_go() -> None:
    async def scenario() -> None:
        store, clock = MemoryCheckpoints(), ManualClock()
        one, two = lease(store, "one", clock), lease(store, "two", clock)
        assert await one.look() is Standing.NEW
        assert await two.look() is Standing.NEW
        assert await one.take()
        assert not await two.take()
        assert await two.look() is Standing.DOUBTFUL
        await one.beat()
        assert await two.look() is Standing.LIVE
        assert one.fresh
        assert not two.fresh
        await one.release()
        assert await two.look() is Standing.FREE
        assert await two.take()
        with pytest.raises(CheckpointConflict):
            await one.beat()

    asyncio.run(scenario())


def test_a_silent_holder_is_replaced_by_the_watchers_own_clock() -> None:
    async def scenario() -> None:
        store = MemoryCheckpoints()
        # the two clocks have nothing in common
        here, there = ManualClock(1000.0), ManualClock(5.0)
        one, two = lease(store, "one", here), lease(store, "two", there)
        await one.look()
        await one.take()
        assert await two.look() is Standing.DOUBTFUL
        there.advance(2.9)
        assert await two.look() is Standing.DOUBTFUL
        await one.beat()
        # it may have been on its way when its holder was killed
        assert await two.look() is Standing.DOUBTFUL
        await one.beat()
        assert await two.look() is Standing.LIVE
        there.advance(2.9)
        assert await two.look() is Standing.LIVE
        there.advance(0.1)
        assert await two.look() is Standing.SILENT
        assert await two.take()
        assert one.fresh  # by its own clock, which has not moved: it is the conflict that tells it
        with pytest.raises(CheckpointConflict):
            await one.beat()
        there.advance(3.0)
        assert not two.fresh

    asyncio.run(scenario())


def test_a_beat_whose_answer_was_lost_is_recognised() -> None:
    async def scenario() -> None:
        class Lossy(MemoryCheckpoints):
            lose = False

            async def save(self, name: str, data: bytes, version: int) -> int:
                saved = await super().save(name, data, version)
                if self.lose:
                    raise CheckpointError("no answer")
                return saved

        store, clock = Lossy(), ManualClock()
        one = lease(store, "one", clock)
        await one.look()
        await one.take()
        store.lose = True
        for _ in range(3):
            with pytest.raises(CheckpointError):
                await one.beat()
        store.lose = False
        await one.beat()

    asyncio.run(scenario())


def test_a_document_is_not_overwritten_by_one_who_has_not_seen_it() -> None:
    async def scenario() -> None:
        use = StoreUse(MemoryCheckpoints(), 1.0)
        one, two = Document(use, "n", "one"), Document(use, "n", "two")
        assert await one.load() is None
        assert await two.load() is None
        await one.save(b"same")
        with pytest.raises(CheckpointConflict):
            await two.save(b"same")
        assert await two.load() == b"same"
        await two.save(b"newer")
        with pytest.raises(CheckpointConflict):
            await one.save(b"newer")

    asyncio.run(scenario())


def test_something_else_in_its_place_counts_as_none(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        store = MemoryCheckpoints()
        await store.save("n", b"\xc1 not ours", 0)
        document = Document(StoreUse(store, 1.0), "n", "w")
        assert await document.load() is None
        assert document.version != 0
        await document.save(b"ours")
        assert await document.load() == b"ours"

    asyncio.run(scenario())
    assert "cannot be read" in caplog.text


def test_processes_with_one_name_get_a_slot_each() -> None:
    async def scenario() -> None:
        store = MemoryCheckpoints()
        slots = await asyncio.gather(*(slot_of(store, f"owner {number}") for number in range(4)))
        assert len({slot.position.name for slot in slots}) == 4

    asyncio.run(scenario())


def test_a_free_slot_with_a_position_comes_first() -> None:
    async def scenario() -> None:
        store = MemoryCheckpoints()
        slots = [await slot_of(store, f"owner {number}") for number in range(3)]
        await slots[1].take_position()
        await slots[1].position.save(b"kept")
        await slots[0].lease.release()
        await slots[1].lease.release()
        found = await slot_of(store, "new")
        assert found.position.name == "slots/1"
        assert await found.take_position() == b"kept"
        # whoever wrote there until now cannot any more
        with pytest.raises(CheckpointConflict):
            await slots[1].position.save(b"late")

    asyncio.run(scenario())


def test_a_slot_whose_holder_may_be_dead_is_waited_for_as_long_as_it_does_not_beat() -> None:
    async def scenario() -> None:
        store = MemoryCheckpoints()
        dead, live = await slot_of(store, "dead"), await slot_of(store, "live")
        await dead.position.save(b"dead's")
        await live.position.save(b"live's")

        async def beat() -> None:
            while True:
                await live.lease.beat()
                await asyncio.sleep(0.05)

        beating = asyncio.create_task(beat())
        found = await slot_of(store, "new")
        assert found.position.name == dead.position.name
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

    asyncio.run(scenario())


def test_one_that_beats_is_not_waited_for() -> None:
    async def scenario() -> None:
        store = MemoryCheckpoints()
        live = await slot_of(store, "live", seconds=60.0)
        await live.position.save(b"live's")

        async def beat() -> None:
            while True:
                await live.lease.beat()
                await asyncio.sleep(0.05)

        beating = asyncio.create_task(beat())
        async with asyncio.timeout(10):  # a sixth of the lease
            found = await slot_of(store, "new", seconds=60.0)
        assert found.position.name == "slots/1"
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

    asyncio.run(scenario())


def test_a_stream_gives_its_slot_back_where_its_last_position_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    class Full(MemoryCheckpoints):
        full = False

        async def save(self, name: str, data: bytes, version: int) -> int:
            if self.full and not name.endswith("/lease"):
                raise CheckpointError("no space left")
            return await super().save(name, data, version)

    async def scenario() -> None:
        store = Full()
        keeper = Keeper(store, StreamOptions(checkpoints=store), SystemClock(), "one")
        await keeper.open("web")
        store.full = True
        await keeper.close(Checkpoint(1, 2, "id", {}))
        watcher = Lease(StoreUse(store, 1.0), "stream/web/0/lease", owner="two", seconds=3.0, clock=SystemClock())
        assert await watcher.look() is Standing.FREE

    asyncio.run(scenario())
    assert "no space left" in caplog.text


HOLDER = """
import asyncio, sys
from async_hybrid_cache import FileCheckpointStore, SystemClock
from async_hybrid_cache.ownership import StoreUse, claim_slot

async def main():
    use = StoreUse(FileCheckpointStore(sys.argv[1]), 5.0)
    slot = await claim_slot(use, "slots", owner=sys.argv[2], seconds=60.0, clock=SystemClock())
    await slot.take_position()
    await slot.position.save(sys.argv[2].encode())
    print(slot.position.name, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def holder(folder: Path, owner: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), owner], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_process_of_this_host_is_seen_to_live_and_to_be_gone(tmp_path: Path) -> None:
    first, name = holder(tmp_path, "first")
    second, other = holder(tmp_path, "second")  # at once, though a lease lasts a minute
    try:
        assert (name, other) == ("slots/0", "slots/1")
        first.kill()
        third, taken = holder(tmp_path, "third")  # the first is a zombie now, and gone all the same
        end(third)
        assert taken == "slots/0"
    finally:
        end(first)
        end(second)


def test_the_identity_of_a_process(tmp_path: Path) -> None:
    here = this_process()
    assert here == this_process()
    assert process_is_gone(here) is False
    boot, namespace, pid, started = here.split(" ")
    assert process_is_gone(f"{boot} {namespace} {pid} {int(started) + 1}") is True
    for elsewhere in ("", "another boot", f"other {namespace} {pid} {started}", f"{boot} pid:[1] {pid} {started}"):
        assert process_is_gone(elsewhere) is None


def test_a_process_that_is_hidden_is_not_taken_for_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with hidepid, where /proc shows the processes of one's own user alone."""
    here = this_process()
    boot, namespace, _, started = here.split(" ")
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text(boot)
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to(namespace)
    monkeypatch.setattr(process, "_PROC", tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert process_is_gone(here) is None
    assert process_is_gone(f"{boot} {namespace} {ended.pid} {started}") is True


def test_a_name_that_holds_a_slash_is_still_one_part() -> None:
    assert slot_name("a/b", "c") == "a%2Fb/c" != slot_name("a", "b/c")
    assert slot_name("a%2Fb") != slot_name("a/b")


def test_files_of_two_stores_agree(tmp_path: Path) -> None:
    async def scenario() -> None:
        stores = [FileCheckpointStore(tmp_path) for _ in range(2)]
        slots = [await slot_of(store, f"owner {number}") for number, store in enumerate(stores)]
        assert [slot.position.name for slot in slots] == ["slots/0", "slots/1"]
        await eventually(lambda: len(list(tmp_path.glob("*.checkpoint"))) == 2)

    asyncio.run(scenario())
