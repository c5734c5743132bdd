"""The log and its file: refused, replaced, of another boot, carried over a fork."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from async_hybrid_cache.errors import ConfigurationError, LogRefused, PositionLost
from async_hybrid_cache.positions import Position
from async_hybrid_cache_brokers.sqlite import SqliteLog
from tests.unit.brokers.sqlite_support import delete, execute, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def test_another_boot_begins_an_epoch(path: Path) -> None:
    async def test(log: SqliteLog) -> int:
        await log.append(b"", "a")
        return (await log.bounds()).epoch

    first = opened(path, test)
    assert opened(path, test) == first
    execute(path, "UPDATE ahc_meta SET boot = 'another', epoch = epoch + ?", 10**9)
    assert opened(path, test) == first + 10**9 + 1


def test_without_a_boot_id_every_commit_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(log: SqliteLog) -> int:
        return await log._open_session().writer.run(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])

    assert opened(path, test) == 1
    monkeypatch.setattr("async_hybrid_cache_brokers.sqlite.connection.BOOT", "")
    assert opened(path, test) == 2


@pytest.mark.parametrize("replace", [False, True])
def test_a_deleted_or_replaced_file_is_lost_until_opened_again(path: Path, replace: bool) -> None:
    async def test(log: SqliteLog) -> None:
        old = (await log.append(b"", "a")).epoch
        waiting = asyncio.create_task(log.read(Position(old, 2), 1, 30))
        delete(path)
        if replace:
            execute(path, "VACUUM")
        with pytest.raises(PositionLost, match="deleted or replaced"):
            await waiting
        for call in (log.append(b"", "b"), log.bounds(), log.renew(old)):
            with pytest.raises(PositionLost, match="deleted or replaced"):
                await call
        await log.open()
        epoch, first, last = await log.bounds()
        assert epoch > old
        assert (first, last) == (1, 0)

    opened(path, test)


def test_an_older_log_put_in_its_place_begins_an_epoch(path: Path) -> None:
    async def test(log: SqliteLog) -> None:
        old = (await log.bounds()).epoch
        await log.renew(old)
        seen = (await log.bounds()).epoch
        execute(path, "UPDATE ahc_meta SET epoch = ?", old)
        await log.open()
        assert (await log.bounds()).epoch > seen

    opened(path, test)


def test_what_is_no_database_is_refused_by_name(path: Path) -> None:
    path.write_bytes(b"certainly not a database " * 100)
    with pytest.raises(LogRefused, match=r"log\.db is not an SQLite database; choose another path"):
        opened(path, lambda log: log.bounds())
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_file_is_refused_by_name(path: Path) -> None:
    async def fill(log: SqliteLog) -> None:
        for number in range(200):
            await log.append(b"x" * 500, f"id{number}")

    opened(path, fill)
    # what is in the write-ahead log still would hide the damage
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (path.stat().st_size - 100))
    with pytest.raises(LogRefused, match=r"log\.db is damaged; stop every process"):
        opened(path, lambda log: log.bounds())


def test_somebody_elses_tables_are_refused(path: Path) -> None:
    execute(path, "CREATE TABLE ahc_meta (something)")
    with pytest.raises(LogRefused, match="choose another path"):
        opened(path, lambda log: log.bounds())


def test_a_folder_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing" / "log.db", tmp_path / "file" / "log.db", tmp_path):
        with pytest.raises(LogRefused, match="a folder that exists and is writable"):
            opened(path, lambda log: log.bounds())


@pytest.mark.parametrize("path", [":memory:", "", "file:x?mode=memory", "a\0b"])
def test_what_is_no_file_is_refused_when_made(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"memory://|path of a file"):
        SqliteLog(path)


def test_options_are_checked_when_made(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="retention_records"):
        SqliteLog(path, retention_records=0)
    with pytest.raises(ConfigurationError, match="retention_seconds"):
        SqliteLog(path, retention_seconds=-1)
    assert not path.exists()


def test_a_forked_child_is_told_to_start_after_the_fork(path: Path) -> None:
    program = f"""
import asyncio, os
from async_hybrid_cache.errors import LogRefused
from async_hybrid_cache_brokers.sqlite import SqliteLog

log = SqliteLog({str(path)!r})

async def child():
    for call in (log.bounds, log.open, SqliteLog({str(path)!r}).open):
        try:
            await call()
        except LogRefused as error:
            assert "start the cache after the fork" in str(error), error
        else:
            raise AssertionError("not refused")
    other = SqliteLog({str(path)!r} + "2")
    await other.open()
    await other.append(b"", "child")
    await other.close()

loop = asyncio.new_event_loop()
loop.run_until_complete(log.open())
loop.run_until_complete(log.append(b"", "a"))
pid = os.fork()
if pid == 0:
    asyncio.events._set_running_loop(None)
    status = 1
    try:
        asyncio.run(child())
        status = 0
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert loop.run_until_complete(log.append(b"", "b")).offset == 2
reading = loop.create_task(log.read((loop.run_until_complete(log.bounds()).head._replace(offset=3)), 1, 20))
loop.run_until_complete(asyncio.sleep(0))
loop.run_until_complete(log.append(b"", "c"))
assert len(loop.run_until_complete(reading)) == 1
loop.run_until_complete(log.close())
loop.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
