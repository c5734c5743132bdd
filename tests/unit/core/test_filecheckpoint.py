"""Checkpoints as files: whole or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from async_hybrid_cache import CheckpointError, ConfigurationError, FileCheckpointStore, Kept


def kept(folder: Path, data: bytes = b"document") -> int:
    async def scenario() -> int:
        store = FileCheckpointStore(folder)
        await store.open()
        return await store.save("w", data, await store.save("w", b"first", 0))

    return asyncio.run(scenario())


def loaded(folder: Path) -> Kept | None:
    return asyncio.run(FileCheckpointStore(folder).load("w"))


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("*.checkpoint")
    return file


def test_the_folder_is_made(tmp_path: Path) -> None:
    version = kept(tmp_path / "new" / "folder")
    assert loaded(tmp_path / "new" / "folder") == (b"document", version)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"", lambda data: data[:-1], lambda data: data[:10], lambda data: data + b"x",
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:], lambda data: b"\0" * len(data),
        lambda data: bytes([data[0] ^ 1]) + data[1:],
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_none_and_is_counted(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    version = kept(tmp_path)
    file = only_file(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    store = FileCheckpointStore(tmp_path)
    assert asyncio.run(store.load("w")) is None
    assert store.damaged == 1
    assert "damaged" in caplog.text
    # a new one is begun, which a writer from before the damage cannot take for its own
    fresh = asyncio.run(store.save("w", b"new", 0))
    assert fresh > version
    assert loaded(tmp_path) == (b"new", fresh)


def test_a_file_half_written_by_a_crash_is_not_looked_at(tmp_path: Path) -> None:
    version = kept(tmp_path)
    only_file(tmp_path).with_suffix(".new").write_bytes(b"half")
    assert loaded(tmp_path) == (b"document", version)


WRITER = """
import asyncio, sys
from async_hybrid_cache import FileCheckpointStore

async def main():
    store = FileCheckpointStore(sys.argv[1])
    await store.open()
    kept = await store.load("w")
    number, version = (int(kept.data.split()[0]), kept.version) if kept else (0, 0)
    while True:
        number += 1
        version = await store.save("w", b"%d %s" % (number, b"x" * 5000), version)
        print(number, flush=True)

asyncio.run(main())
"""


def test_a_kill_at_any_moment_leaves_a_whole_document(tmp_path: Path) -> None:
    last = 0
    for turn in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        assert process.stdout is not None
        with process.stdout as told:
            for _ in range(3 + turn * 7):
                last = int(told.readline())
            process.send_signal(signal.SIGKILL)
            last = max([last, *(int(line) for line in told.read().splitlines() if line)])
        process.wait()
        found = loaded(tmp_path)
        assert found is not None
        number, rest = found.data.split()
        assert last <= int(number) <= last + 1
        assert rest == b"x" * 5000


def test_a_frozen_writer_holds_nobody_up_for_long(tmp_path: Path) -> None:
    import fcntl

    version = kept(tmp_path)
    with open(only_file(tmp_path).with_suffix(".lock"), "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="cannot be kept"):
            asyncio.run(FileCheckpointStore(tmp_path).save("w", b"data", version))
    assert loaded(tmp_path) == (b"document", version)


@pytest.mark.parametrize("folder", ["", "a\0b", 3, None])
def test_what_is_no_folder_is_refused(folder: str) -> None:
    with pytest.raises(ConfigurationError, match="folder"):
        FileCheckpointStore(folder)


def test_a_folder_that_cannot_be_used_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FileCheckpointStore(tmp_path / "file")
    with pytest.raises(CheckpointError, match="cannot be kept"):
        asyncio.run(store.open())
    with pytest.raises(CheckpointError, match="cannot be kept"):
        asyncio.run(store.save("w", b"data", 0))
