"""A log in an SQLite file, shared by the processes of one host."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from async_hybrid_cache.errors import LogRefused, LogUnavailable, PositionLost
from async_hybrid_cache.log import checked_record
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.validation import positive, positive_int

from .connection import BOOT, Connection, closed, database_path, transaction
from .failures import FileLost, explain
from .wake import WakeReceiver, WakeSender, wake_folder

__all__ = ["SqliteLog"]

T = TypeVar("T")

_POLL_SECONDS = 0.1
_TRIM_EVERY = 64
_TRIM_AT_MOST = 4_096

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS ahc_meta (
        one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, last INTEGER NOT NULL,
        boot TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS ahc_log (
        offset INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, data BLOB NOT NULL, at REAL NOT NULL)""",
)
_BOUNDS = "SELECT epoch, last, (SELECT min(offset) FROM ahc_log) FROM ahc_meta"


class _Session:
    """What is open between `open` and `close`."""

    def __init__(self, path: str, prepare: Callable[[sqlite3.Connection], None]) -> None:
        folder = wake_folder(path)
        self.receiver = WakeReceiver(folder)
        self.sender = WakeSender(folder)
        # apart, so that waiting for another process's write never delays a read
        self.writer = Connection(path, prepare)
        self.reader = Connection(path, lambda db: None)

    async def open(self) -> None:
        await self.writer.open()
        await self.reader.open()
        self.receiver.open()

    async def close(self) -> None:
        self.receiver.close()
        try:
            await closed(self.reader, self.writer)
        finally:
            self.sender.close()


class SqliteLog:
    """A log in the file at `path`, for several processes on one host.

    Survives `kill -9` of any of them at any moment. Other processes see a record within a few milliseconds:
    the writer wakes them over datagram sockets in the folder `<path>.wake`, and a look at the file every
    100 ms stands in where a wake-up was lost or there are no such sockets. The file must be on a local disk.

    It is written in WAL mode with `synchronous=NORMAL`: a commit survives the process, while a power loss may
    undo the newest ones. That is enough here, because a power loss ends every process on the host and every
    L1 with them, and the file keeps the machine's boot id: the first `open` after another boot begins a new
    epoch. Where the system has no boot id, `synchronous=FULL` makes every commit survive.

    Records are trimmed on append, beyond `retention_records` (default 100 000; for a while up to a tenth more
    stay, at most 64) and after `retention_seconds` (default seven days). An id is recognised as long as its
    record is held. Where the file was deleted or replaced, calls raise `PositionLost` and `open` begins anew.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        retention_records: int = 100_000,
        retention_seconds: float = 7 * 86400,
    ) -> None:
        self._path = database_path(path)
        self._retention_records = positive_int("retention_records", retention_records)
        self._retention_seconds = positive("retention_seconds", retention_seconds)
        self._trim_every = max(1, min(_TRIM_EVERY, retention_records // 10))
        self._seen = 0
        self._session: _Session | None = None

    def __repr__(self) -> str:
        return f"SqliteLog({self._path!r})"

    async def open(self) -> None:
        """Open the file, and create it, or begin a new epoch in it, where that is due.

        Raises `LogRefused` where the file is damaged, no database, or not writable.
        """
        await self.close()
        try:
            session = _Session(self._path, self._prepare)
            try:
                await session.open()
            except BaseException:
                await session.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error
        self._session = session

    async def close(self) -> None:
        """Close the connections and remove the socket of this object."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def append(self, record: bytes, id: str) -> Position:
        """Append, and wake the readers; `PositionLost` where the epoch is not the one this object opened."""
        session, epoch = self._open_session(), self._seen
        checked_record(record)

        def work(db: sqlite3.Connection) -> Position:
            offset = self._append(db, epoch, record, id)
            session.sender.wake()
            return Position(epoch, offset)

        return await self._run(session.writer, work)

    async def bounds(self) -> Bounds:
        """Epoch, first and last offset."""
        return await self._run(self._open_session().reader, _bounds)

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        """At most `limit` records from `start` on, or none after `wait` seconds."""
        session = self._open_session()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            seen = session.receiver.count
            found = await self._run(session.reader, lambda db: _read(db, start, limit))
            left = deadline - loop.time()
            if found or left <= 0:
                return found
            await session.receiver.wait(seen, min(left, _POLL_SECONDS))

    async def renew(self, above: int) -> None:
        """Begin an epoch larger than `above`, where the log's is not already."""
        session = self._open_session()

        def work(db: sqlite3.Connection) -> int:
            with transaction(db, "IMMEDIATE"):
                epoch = _bounds(db).epoch
                if epoch <= above:
                    epoch = self._begin(db, above)
            session.sender.wake()
            return epoch

        self._seen = max(self._seen, await self._run(session.writer, work))

    def _open_session(self) -> _Session:
        if self._session is None:
            raise LogUnavailable(f"the log at {self._path} is not open")
        return self._session

    async def _run(self, connection: Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await connection.run(work)
        except FileLost as error:
            raise PositionLost(f"{self._path} was deleted or replaced; open the log again") from error
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error | OSError) -> LogRefused | LogUnavailable:
        failure = explain(error, self._path)
        return LogRefused(failure.message) if failure.lasting else LogUnavailable(failure.message)

    # From here on in a connection's thread.

    def _prepare(self, db: sqlite3.Connection) -> None:
        epoch = self._epoch(db)
        if epoch is None:
            with transaction(db, "IMMEDIATE"):
                for statement in _SCHEMA:
                    db.execute(statement)
                epoch = self._epoch(db) or self._begin(db, above=0)
        self._seen = epoch

    def _epoch(self, db: sqlite3.Connection) -> int | None:
        """The epoch of the log, where it is of this boot and not older than what this object knows."""
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'ahc_meta'").fetchone() is None:
            return None
        row = db.execute("SELECT epoch, boot FROM ahc_meta").fetchone()
        if row is None or row[1] != BOOT or row[0] < self._seen:
            return None
        return int(row[0])

    def _begin(self, db: sqlite3.Connection, above: int) -> int:
        (old,) = db.execute("SELECT coalesce(max(epoch), 0) FROM ahc_meta").fetchone()
        epoch: int = max(time.time_ns() // 1_000, above + 1, self._seen + 1, old + 1)
        db.execute("DELETE FROM ahc_log")
        db.execute("REPLACE INTO ahc_meta (one, epoch, last, boot) VALUES (1, ?, 0, ?)", (epoch, BOOT))
        return epoch

    def _append(self, db: sqlite3.Connection, epoch: int, record: bytes, id: str) -> int:
        with transaction(db, "IMMEDIATE"):
            bounds = _bounds(db)
            if bounds.epoch != epoch:
                raise PositionLost(f"{self._path} has begun a new epoch; open the log again")
            known = db.execute("SELECT offset FROM ahc_log WHERE id = ?", (id,)).fetchone()
            if known is not None:
                return int(known[0])
            offset, now = bounds.last + 1, time.time()
            db.execute("INSERT INTO ahc_log VALUES (?, ?, ?, ?)", (offset, id, record, now))
            db.execute("UPDATE ahc_meta SET last = ?", (offset,))
            if offset % self._trim_every == 0:
                self._trim(db, bounds.first, offset, now)
            return offset

    def _trim(self, db: sqlite3.Connection, first: int, last: int, now: float) -> None:
        young = db.execute(
            "SELECT offset FROM ahc_log WHERE at >= ? ORDER BY offset LIMIT 1",
            (now - self._retention_seconds,),
        ).fetchone()
        keep_from = max(last - self._retention_records + 1, young[0] if young else last + 1)
        # bounded, so that no append pays for a long silence
        db.execute("DELETE FROM ahc_log WHERE offset < ?", (min(keep_from, first + _TRIM_AT_MOST),))


def _bounds(db: sqlite3.Connection) -> Bounds:
    row = db.execute(_BOUNDS).fetchone()
    if row is None:
        raise PositionLost("the log's own row is gone from the file; open the log again")
    epoch, last, first = row
    return Bounds(epoch, last + 1 if first is None else first, last)


def _read(db: sqlite3.Connection, start: Position, limit: int) -> list[Record]:
    with transaction(db, "DEFERRED"):
        bounds = _bounds(db)
        if start.epoch != bounds.epoch:
            raise PositionLost(f"{start} is of another epoch than the log, which is at {bounds.epoch}")
        if not bounds.first <= start.offset <= bounds.last + 1:
            raise PositionLost(f"{start} is not in the log, which holds {bounds.first} to {bounds.last}")
        rows = db.execute(
            "SELECT offset, id, data FROM ahc_log WHERE offset >= ? ORDER BY offset LIMIT ?",
            (start.offset, limit),
        ).fetchall()
    expected = min(limit, bounds.last + 1 - start.offset)
    if len(rows) != expected or (rows and rows[-1][0] != start.offset + expected - 1):
        raise PositionLost(f"records are missing from the log after {start}")
    return [Record(Position(start.epoch, offset), id, data) for offset, id, data in rows]
