"""Several processes on one file, and what SIGKILL does to them."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache_brokers.sqlite import SqliteDistributedCache, SqliteLog
from async_hybrid_cache_brokers.sqlite import log as log_module
from async_hybrid_cache_brokers.sqlite.wake import wake_folder

WRITER = """
import asyncio, sys
from async_hybrid_cache_brokers.sqlite import SqliteLog

async def main(path, name):
    log = SqliteLog(path, retention_records=1_000_000)
    await log.open()
    number = 0
    while True:
        number += 1
        position = await log.append(b"x" * 80, f"{name}:{number}")
        print(f"{name}:{number} {position}", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""

OPENER = """
import asyncio, sys
from async_hybrid_cache_brokers.sqlite import SqliteLog

async def main(path):
    log = SqliteLog(path)
    print("ready", flush=True)
    sys.stdin.readline()
    await log.open()
    print((await log.append(b"", str(sys.argv)) ).epoch, flush=True)
    await log.close()

asyncio.run(main(sys.argv[1]))
"""

FILLER = """
import asyncio, sys
from async_hybrid_cache.positions import Position
from async_hybrid_cache_brokers.sqlite import SqliteDistributedCache

async def main(path):
    cache = SqliteDistributedCache(path)
    await cache.open()
    while True:
        for number in range(50):
            key = f"key{number}"
            token = await cache.lease("s", key, lease_seconds=30)
            data = key.encode() * 200
            assert await cache.fill("s", key, data, stamp=Position(1, 1), ttl=60, token=token)
            print(key, flush=True)

asyncio.run(main(sys.argv[1]))
"""


@contextmanager
def running(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def line(process: subprocess.Popen[str]) -> str:
    found = pipe(process.stdout).readline()
    assert found, f"the process ended with {process.wait(10)}"
    return found.strip()


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


async def read_all(log: SqliteLog) -> list[Record]:
    epoch, first, last = await log.bounds()
    records: list[Record] = []
    while first + len(records) <= last:
        records += await log.read(Position(epoch, first + len(records)), 1_000, 0)
    assert [record.position for record in records] == [Position(epoch, n) for n in range(first, last + 1)]
    return records


def test_processes_that_open_a_new_file_at_once_agree_on_its_epoch(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with (
        running(OPENER, path, "0") as a,
        running(OPENER, path, "1") as b,
        running(OPENER, path, "2") as c,
        running(OPENER, path, "3") as d,
    ):
        for process in (a, b, c, d):
            assert line(process) == "ready"
        for process in (a, b, c, d):
            pipe(process.stdin).write("go\n")
            pipe(process.stdin).flush()
        assert len({line(process) for process in (a, b, c, d)}) == 1


def test_writers_killed_at_any_moment_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    rng = random.Random(7)
    acknowledged: dict[str, str] = {}
    followed: list[Record] = []

    async def follow(log: SqliteLog, stop: asyncio.Event) -> None:
        epoch = (await log.bounds()).epoch
        while not stop.is_set():
            followed.extend(await log.read(Position(epoch, len(followed) + 1), 500, 0.2))

    def kill_some() -> None:
        for round in range(8):
            with running(WRITER, path, f"a{round}") as a, running(WRITER, path, f"b{round}") as b:
                for _ in range(rng.randrange(1, 120)):
                    for process in (a, b):
                        id, position = line(process).split()
                        acknowledged[id] = position
                for process in (a, b):
                    process.send_signal(signal.SIGKILL)
                for process in (a, b):
                    # what it had printed before it died counts too, but not a line cut in the middle
                    for rest in pipe(process.stdout):
                        if rest.endswith("\n"):
                            id, position = rest.split()
                            acknowledged[id] = position

    async def main() -> None:
        log = SqliteLog(path, retention_records=1_000_000)
        await log.open()
        stop = asyncio.Event()
        following = asyncio.create_task(follow(log, stop))
        await asyncio.to_thread(kill_some)
        stop.set()
        await following
        records = await read_all(log)
        at = {str(record.position): record.id for record in records}
        assert len(acknowledged) > 100
        assert {position: id for id, position in acknowledged.items()}.items() <= at.items()
        assert len({record.id for record in records}) == len(records)
        # at most one record a killed writer was in flight
        assert len(records) - len(acknowledged) <= 16
        assert records[: len(followed)] == followed
        assert len(followed) > 100
        await log.close()

    asyncio.run(main())


def test_readers_that_were_killed_leave_no_socket_behind(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = str(tmp_path_factory.mktemp("short") / "log.db")  # sockets beside the file, where none but us clears
    folder = Path(wake_folder(path))
    with running(WRITER, path, "a") as a, running(WRITER, path, "b") as b:
        line(a)
        line(b)
        assert len(list(folder.iterdir())) == 2
    assert list(folder.iterdir()) != []  # the one that lived longer may have cleaned up after the other

    log = SqliteLog(path)

    async def append() -> None:
        await log.open()
        await log.append(b"", "c")

    with asyncio.Runner() as runner:
        runner.run(append())
        assert len(list(folder.iterdir())) == 1
        assert not any(socket.name.startswith((f"{a.pid}-", f"{b.pid}-")) for socket in folder.iterdir())
        runner.run(log.close())
    assert not folder.exists()


def test_another_process_is_woken_without_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_POLL_SECONDS", 30)
    path = str(tmp_path / "log.db")

    async def main() -> None:
        log = SqliteLog(path)
        await log.open()
        epoch = (await log.bounds()).epoch
        with running(WRITER, path, "a"):
            for offset in range(1, 200):
                assert await log.read(Position(epoch, offset), 1, 20)
        await log.close()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 20


def test_a_reader_that_is_deaf_holds_no_writer_up(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    folder = Path(wake_folder(path))
    folder.mkdir()
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    deaf.bind(str(folder / "1-deaf.sock"))

    async def main() -> None:
        log = SqliteLog(path)
        await log.open()
        for number in range(1_000):  # more than its queue holds
            await log.append(b"", f"id{number}")
        await log.close()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 20
    assert (folder / "1-deaf.sock").exists()
    deaf.close()


def test_a_process_killed_while_it_fills_leaves_whole_entries(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    for _ in range(4):
        with running(FILLER, path) as filler:
            for _ in range(60):
                line(filler)
            filler.send_signal(signal.SIGKILL)

    async def main() -> None:
        cache = SqliteDistributedCache(path)
        await cache.open()
        hits = 0
        for number in range(50):
            found = await cache.get("s", f"key{number}", oldest=Position(0, 0), lease_seconds=1)
            if hasattr(found, "data"):
                assert found.data == f"key{number}".encode() * 200
                hits += 1
        # each killed process may have left one lease
        assert hits >= 46
        await cache.close()

    asyncio.run(main())
