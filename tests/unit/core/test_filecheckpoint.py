"""Checkpoints as files: one slot per process, whole or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from async_hybrid_cache import CacheError, Checkpoint, ConfigurationError, FileCheckpointStore

ONE = Checkpoint(7, 42, "origin:1:2", {"origin": 2, "other": 9})


def kept(folder: Path, checkpoint: Checkpoint) -> None:
    async def scenario() -> None:
        store = FileCheckpointStore(folder)
        assert await store.open("w") is None
        await store.save(Checkpoint(7, 1, "", {}))
        await store.save(checkpoint)
        await store.close()

    asyncio.run(scenario())


def opened(folder: Path) -> Checkpoint | None:
    async def scenario() -> Checkpoint | None:
        store = FileCheckpointStore(folder)
        try:
            return await store.open("w")
        finally:
            await store.close()

    return asyncio.run(scenario())


def test_what_was_saved_last_is_found_again(tmp_path: Path) -> None:
    kept(tmp_path / "new" / "folder", ONE)
    assert opened(tmp_path / "new" / "folder") == ONE


def test_processes_with_one_id_get_a_slot_each(tmp_path: Path) -> None:
    async def scenario() -> None:
        stores = [FileCheckpointStore(tmp_path, max_slots=3) for _ in range(4)]
        for number, store in enumerate(stores[:3]):
            assert await store.open("w") is None
            await store.save(Checkpoint(1, number, "", {}))
        with pytest.raises(CacheError, match="all 3 checkpoint slots of 'w'"):
            await stores[3].open("w")
        assert await FileCheckpointStore(tmp_path).open("another") is None
        await stores[1].close()
        found = await stores[3].open("w")
        assert found is not None
        assert found.offset == 1
        for store in stores:
            await store.close()

    asyncio.run(scenario())


def test_opening_again_keeps_the_slot(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = FileCheckpointStore(tmp_path)
        await store.open("w")
        await store.save(ONE)
        # as a cache does that is started in a second loop, the first having ended without a stop
        assert await store.open("w") == ONE
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"", lambda data: data[:-1], lambda data: data[:10], lambda data: data + b"x",
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], lambda data: b"\0" * len(data),
        lambda data: bytes([data[0] ^ 1]) + data[1:],
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: object) -> None:
    kept(tmp_path, ONE)
    file = tmp_path / "w.0.checkpoint"
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert opened(tmp_path) is None


def test_a_file_half_written_by_a_crash_is_not_looked_at(tmp_path: Path) -> None:
    kept(tmp_path, ONE)
    (tmp_path / "w.0.new").write_bytes(b"half")
    assert opened(tmp_path) == ONE


WRITER = """
import asyncio, sys
from async_hybrid_cache import Checkpoint, FileCheckpointStore

async def main():
    store = FileCheckpointStore(sys.argv[1])
    found = await store.open("w")
    offset = found.offset if found else 0
    while True:
        offset += 1
        await store.save(Checkpoint(1, offset, "x" * 5000, {"origin": offset}))
        print(offset, flush=True)

asyncio.run(main())
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint_and_a_free_slot(tmp_path: Path) -> None:
    last = 0
    for number in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        assert process.stdout is not None
        with process.stdout as told:
            for _ in range(3 + number * 7):
                last = int(told.readline())
            process.send_signal(signal.SIGKILL)
            last = max([last, *(int(line) for line in told.read().splitlines() if line)])
        process.wait()
        found = opened(tmp_path)
        assert found is not None
        assert found.offset >= last
        assert found.marks == {"origin": found.offset}
        assert not (tmp_path / "w.1.checkpoint").exists()


@pytest.mark.parametrize("instance_id", ["", "a/b", "..", ".hidden", "a\0b"])
def test_an_id_that_is_no_file_name_is_refused(tmp_path: Path, instance_id: str) -> None:
    with pytest.raises(ConfigurationError, match="instance_id"):
        asyncio.run(FileCheckpointStore(tmp_path).open(instance_id))


def test_a_folder_that_cannot_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="checkpoints cannot be kept"):
        asyncio.run(FileCheckpointStore(tmp_path / "file").open("w"))
    with pytest.raises(CacheError, match="not open"):
        asyncio.run(FileCheckpointStore(tmp_path).save(ONE))
