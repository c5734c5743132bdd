from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from async_hybrid_cache.errors import LogUnavailable, PositionLost
from async_hybrid_cache.positions import Position
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache_brokers.sqlite import SqliteLog
from async_hybrid_cache_brokers.sqlite import log as log_module
from async_hybrid_cache_brokers.sqlite.wake import wake_folder
from tests.unit.brokers.sqlite_support import execute, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def test_the_log_goes_on_after_reopening(path: Path) -> None:
    async def test(log: SqliteLog) -> Position:
        return await log.append(b"x", "same")

    first, again = opened(path, test), opened(path, test)
    assert first.offset == 1
    assert again == first


@promise(8, fault="very many events")
def test_positions_that_are_not_held_are_lost(path: Path) -> None:
    async def test(log: SqliteLog) -> None:
        for number in range(25):
            await log.append(b"", f"id{number}")
        epoch, first, last = await log.bounds()
        assert (first, last) == (16, 25)
        for position in ((epoch, 15), (epoch, 0), (epoch, 27), (epoch - 1, 20), (epoch + 1, 1)):
            with pytest.raises(PositionLost):
                await log.read(Position(*position), 1, 5)
        assert len(await log.read(Position(epoch, 16), 100, 0)) == 10

    opened(path, test, retention_records=10)


@promise(8, fault="very many events")
def test_retention_by_age(path: Path) -> None:
    async def fill(log: SqliteLog) -> None:
        for number in range(20):
            await log.append(b"", f"id{number}")

    async def one_more(log: SqliteLog) -> None:
        await log.append(b"", "young")
        _, first, last = await log.bounds()
        assert (first, last) == (21, 21)

    opened(path, fill, retention_records=10_000)
    execute(path, "UPDATE ahc_log SET at = at - 100")
    opened(path, one_more, retention_records=10, retention_seconds=50)


def test_an_emptied_log_keeps_its_offsets(path: Path) -> None:
    async def fill(log: SqliteLog) -> Position:
        await log.append(b"", "a")
        return await log.append(b"", "b")

    async def go_on(log: SqliteLog) -> None:
        epoch, first, last = await log.bounds()
        assert (first, last) == (3, 2)
        assert await log.read(Position(epoch, 3), 1, 0) == []
        assert (await log.append(b"", "c")).offset == 3

    opened(path, fill)
    execute(path, "DELETE FROM ahc_log")
    opened(path, go_on)


def test_a_hole_is_never_read_over(path: Path) -> None:
    async def test(log: SqliteLog) -> None:
        for number in range(5):
            await log.append(b"", f"id{number}")
        execute(path, "DELETE FROM ahc_log WHERE offset = 3")
        epoch = (await log.bounds()).epoch
        with pytest.raises(PositionLost, match="missing"):
            await log.read(Position(epoch, 1), 10, 0)
        assert len(await log.read(Position(epoch, 4), 10, 0)) == 2

    opened(path, test)


def test_renew_happens_once_and_wakes_a_waiting_reader(path: Path) -> None:
    async def test(log: SqliteLog) -> None:
        epoch = (await log.bounds()).epoch
        await log.append(b"", "a")
        waiting = asyncio.create_task(log.read(Position(epoch, 2), 1, 30))
        await asyncio.sleep(0)
        await asyncio.gather(*(log.renew(epoch) for _ in range(5)))
        with pytest.raises(PositionLost):
            await waiting
        renewed = await log.bounds()
        assert renewed.epoch > epoch
        assert (renewed.first, renewed.last) == (1, 0)
        await log.renew(epoch)
        assert await log.bounds() == renewed
        assert await log.append(b"", "a") == Position(renewed.epoch, 1)
        far = renewed.epoch + 10**9
        await log.renew(far)
        assert (await log.bounds()).epoch == far + 1

    opened(path, test)


def test_a_locked_file_delays_no_read_and_fails_the_append_in_time(path: Path) -> None:
    async def test(log: SqliteLog) -> None:
        position = await log.append(b"", "a")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            began = time.monotonic()
            appending = asyncio.create_task(log.append(b"", "b"))
            while time.monotonic() - began < 0.3:
                assert len(await log.read(position, 10, 0)) == 1
                assert (await log.bounds()).last == 1
            assert not appending.done()
            with pytest.raises(LogUnavailable, match="locked"):
                await appending
            assert time.monotonic() - began < 2
        finally:
            other.execute("ROLLBACK")
            other.close()
        assert (await log.append(b"", "b")).offset == 2

    opened(path, test)


def test_a_cancelled_call_leaves_the_log_usable(path: Path) -> None:
    async def test(log: SqliteLog) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        calls = [asyncio.create_task(log.append(b"", f"id{number}")) for number in range(3)]
        await asyncio.sleep(0.02)
        for call in calls:
            call.cancel()
        other.execute("ROLLBACK")
        other.close()
        assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*calls, return_exceptions=True))
        # the one that had begun may have happened, and its retry finds it
        assert (await log.append(b"", "id0")).offset == 1
        assert (await log.append(b"", "id1")).offset == 2
        epoch = (await log.bounds()).epoch
        reading = asyncio.create_task(log.read(Position(epoch, 3), 1, 30))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert len(await log.read(Position(epoch, 1), 10, 0)) == 2

    opened(path, test)


def test_a_closed_log_is_unavailable_and_opens_again_in_another_loop(path: Path) -> None:
    log = SqliteLog(path)

    async def once(id: str) -> int:
        await log.open()
        offset = (await log.append(b"", id)).offset
        reading = asyncio.create_task(log.read(Position((await log.bounds()).epoch, offset + 1), 1, 30))
        await asyncio.sleep(0)
        await log.close()
        await log.close()
        with pytest.raises(LogUnavailable):
            await reading
        for call in (log.bounds(), log.append(b"", "x"), log.read(Position(1, 1), 1, 0), log.renew(0)):
            with pytest.raises(LogUnavailable):
                await call
        return offset

    assert [asyncio.run(once("a")), asyncio.run(once("b"))] == [1, 2]
    assert not Path(wake_folder(str(path))).exists()
    for thread in threading.enumerate():
        if thread.name.startswith("ahc-sqlite"):
            thread.join(10)
            assert not thread.is_alive()


def test_opening_under_a_reader_tells_it_to_try_again(path: Path) -> None:
    async def test(log: SqliteLog) -> None:
        epoch = (await log.bounds()).epoch
        reading = asyncio.create_task(log.read(Position(epoch, 1), 1, 30))
        await asyncio.sleep(0)
        await log.open()
        with pytest.raises(LogUnavailable):
            await reading
        assert (await log.bounds()).epoch == epoch

    opened(path, test)


def test_without_wake_ups_the_slow_poll_finds_records(path: Path) -> None:
    folder = Path(wake_folder(str(path)))
    folder.touch()  # where a file is, no socket can be bound

    async def test(log: SqliteLog) -> None:
        epoch = (await log.bounds()).epoch
        reading = asyncio.create_task(log.read(Position(epoch, 1), 1, 30))
        await asyncio.sleep(0.01)
        began = time.monotonic()
        await log.append(b"slow", "a")
        assert [record.data for record in await reading] == [b"slow"]
        assert time.monotonic() - began < 5

    opened(path, test)
    assert folder.is_file()
    folder.unlink()


def test_with_wake_ups_no_poll_is_needed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_POLL_SECONDS", 30)

    async def test(log: SqliteLog) -> None:
        epoch = (await log.bounds()).epoch
        for offset in range(1, 50):
            reading = asyncio.create_task(log.read(Position(epoch, offset), 1, 20))
            await asyncio.sleep(0)
            await log.append(b"", f"id{offset}")
            assert len(await reading) == 1

    began = time.monotonic()
    opened(path, test)
    assert time.monotonic() - began < 10


def test_a_path_too_long_for_a_socket_is_woken_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_POLL_SECONDS", 30)
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    path = folder / "log.db"

    async def test(log: SqliteLog) -> None:
        epoch = (await log.bounds()).epoch
        reading = asyncio.create_task(log.read(Position(epoch, 1), 1, 20))
        await asyncio.sleep(0)
        await log.append(b"", "a")
        assert len(await reading) == 1

    began = time.monotonic()
    opened(path, test)
    assert time.monotonic() - began < 10
    assert Path(wake_folder(str(path))).parent != folder
