"""An L2 in an SQLite file, shared by the processes of one host."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from asyncio import Event
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import DistributedCacheError
from async_hybrid_cache.positions import Position
from async_hybrid_cache.validation import checked_part, positive_int
from async_hybrid_cache_codecs import Serializer

from .connection import BOOT, Connection, closed, database_path, transaction
from .failures import UNUSABLE, explain
from .transactions import Transactions
from .watches import Watches

__all__ = ["SqliteDistributedCache"]

T = TypeVar("T")

_EXPIRED_AT_ONCE = 16
_EVICTED_AT_ONCE = 64

# A row is an entry (`data`) or a lease (`token`), never both, and of no use after `expires`.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS ahc_boot (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS ahc_entries (
        age INTEGER PRIMARY KEY, scope TEXT NOT NULL, key TEXT NOT NULL, data BLOB, stamp_epoch INTEGER,
        stamp_offset INTEGER, token TEXT, expires REAL NOT NULL, UNIQUE (scope, key))""",
    "CREATE INDEX IF NOT EXISTS ahc_entries_expires ON ahc_entries (expires)",
)
_USED_BYTES = """SELECT (page_count - freelist_count) * page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size"""


class SqliteDistributedCache:
    """Values in the file at `path`, for several processes on one host; the log's file will do.

    `serializer` defaults to msgpack. Where the file's content exceeds `max_bytes` (default 256 MiB, the log's
    part included where the file is shared), what has expired leaves first and then what is oldest. Time is
    the host's wall clock. A value larger than `max_bytes` is not kept.

    Waits at most a second for other writers, and a hit waits for none. After a power loss, which may undo the
    newest commits, the file is from another boot of the machine, and its entries are dropped. A file that was
    deleted or replaced is opened anew; a damaged one raises `DistributedCacheError` until it is deleted.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        serializer: Serializer | None = None,
        max_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        checked_part("serializer", serializer, Serializer)
        if serializer is None:
            from async_hybrid_cache_codecs.msgpack import MsgpackSerializer

            serializer = MsgpackSerializer()
        self._serializer = serializer
        self._path = database_path(path)
        self._max_bytes = positive_int("max_bytes", max_bytes)
        self._connections: tuple[Connection, ...] = ()
        self._watches: Watches | None = None
        self._reads: Transactions | None = None
        self._writes: Transactions | None = None

    def __repr__(self) -> str:
        return f"SqliteDistributedCache({self._path!r})"

    @property
    def serializer(self) -> Serializer:
        """Turns values into bytes."""
        return self._serializer

    async def open(self) -> None:
        """Open the file, and create it where there is none."""
        await self.close()
        self._watches = Watches(self._path)
        # apart, so that waiting for another process's write never delays a hit
        writer, reader = Connection(self._path, _prepare), Connection(self._path, _prepare)
        self._connections = writer, reader
        self._writes, self._reads = Transactions(writer, "IMMEDIATE"), Transactions(reader, "DEFERRED")
        try:
            await writer.open()
            await reader.open()
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error

    async def close(self) -> None:
        """Close the connections."""
        watches, self._watches = self._watches, None
        if watches is not None:
            watches.close()
        connections, self._connections = self._connections, ()
        transactions, self._reads, self._writes = (self._reads, self._writes), None, None
        for running in transactions:
            if running is not None:
                running.close()
        await closed(*connections)

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        """The entry, or a lease to fill it; only the first to miss needs a write transaction."""
        found = await self._run(self._reads, lambda db: _find(db, scope, key, oldest))
        if found is not None:
            return found

        def lease(db: sqlite3.Connection) -> Hit | Miss:
            again = _find(db, scope, key, oldest)
            return Miss(self._lease(db, scope, key, lease_seconds)) if again is None else again

        if lease_seconds <= 0:
            return Miss(None)
        return await self._run(self._writes, lease)

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        """Delete the entry, void any lease on it, and take a new one."""
        token = await self._run(self._writes, lambda db: self._lease(db, scope, key, lease_seconds))
        self._wake(scope, key)
        return token

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        """Store `data` for `ttl` seconds if `token` is live; False where it is not or `data` is too large."""

        def work(db: sqlite3.Connection) -> bool:
            now = time.time()
            leased = "scope = ? AND key = ? AND token = ? AND expires > ?"
            if len(data) > self._max_bytes:
                db.execute(f"DELETE FROM ahc_entries WHERE {leased}", (scope, key, token, now))
                return False
            filled = db.execute(
                "UPDATE ahc_entries SET data = ?, stamp_epoch = ?, stamp_offset = ?, token = NULL, "
                f"expires = ? WHERE {leased}",
                (data, *stamp, now + ttl, scope, key, token, now),
            ).rowcount
            self._make_room(db, now)
            return filled == 1

        filled = await self._run(self._writes, work)
        self._wake(scope, key)
        return filled

    async def release(self, scope: str, key: str, *, token: str) -> None:
        """Remove the lease `token`, where it is still there."""
        statement = "DELETE FROM ahc_entries WHERE scope = ? AND key = ? AND token = ?"
        await self._run(self._writes, lambda db: db.execute(statement, (scope, key, token)))
        self._wake(scope, key)

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        """Delete the entries and void the leases on them."""
        rows = [(scope, key) for key in keys]
        statement = "DELETE FROM ahc_entries WHERE scope = ? AND key = ?"
        await self._run(self._writes, lambda db: db.executemany(statement, rows))
        self._wake(scope, *keys)

    async def clear(self, scope: str | None) -> None:
        """Delete every entry and void every lease of one scope, or of all (`None`)."""
        where, values = ("", ()) if scope is None else (" WHERE scope = ?", (scope,))
        await self._run(self._writes, lambda db: db.execute(f"DELETE FROM ahc_entries{where}", values))
        if self._watches is not None:
            self._watches.wake_all()

    def watch(self, scope: str, key: str) -> AbstractAsyncContextManager[Event]:
        """What is set once a lease on the key may have ended; other processes tell it over a datagram socket."""
        if self._watches is None:
            raise DistributedCacheError(f"the L2 at {self._path} is not open")
        return self._watches.watch(scope, key)

    def _wake(self, scope: str, *keys: str) -> None:
        if self._watches is not None:
            self._watches.wake(scope, keys)

    async def _run(self, transactions: Transactions | None, work: Callable[[sqlite3.Connection], T]) -> T:
        if transactions is None:
            raise DistributedCacheError(f"the L2 at {self._path} is not open")
        try:
            return await transactions.run(work)
        except (sqlite3.Error, OSError, *UNUSABLE) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DistributedCacheError:
        return DistributedCacheError(explain(error, self._path).message)

    # From here on in a connection's thread.

    def _lease(self, db: sqlite3.Connection, scope: str, key: str, seconds: float) -> str:
        now, token = time.time(), secrets.token_hex(8)
        db.execute(
            "REPLACE INTO ahc_entries (scope, key, token, expires) VALUES (?, ?, ?, ?)",
            (scope, key, token, now + seconds),
        )
        self._make_room(db, now)
        return token

    def _make_room(self, db: sqlite3.Connection, now: float) -> None:
        db.execute(
            "DELETE FROM ahc_entries WHERE age IN "
            "(SELECT age FROM ahc_entries WHERE expires <= ? ORDER BY expires LIMIT ?)",
            (now, _EXPIRED_AT_ONCE),
        )
        evicted = 1
        while evicted and db.execute(_USED_BYTES).fetchone()[0] > self._max_bytes:
            evicted = db.execute(
                "DELETE FROM ahc_entries WHERE age IN (SELECT age FROM ahc_entries ORDER BY age LIMIT ?)",
                (_EVICTED_AT_ONCE,),
            ).rowcount


def _find(db: sqlite3.Connection, scope: str, key: str, oldest: Position) -> Hit | Miss | None:
    """A hit, a miss under somebody's live lease, or None where a lease may be taken."""
    now = time.time()
    row = db.execute(
        "SELECT data, stamp_epoch, stamp_offset, expires FROM ahc_entries WHERE scope = ? AND key = ? AND expires > ?",
        (scope, key, now),
    ).fetchone()
    if row is None:
        return None
    data, epoch, offset, expires = row
    if data is None:
        return Miss(None, expires - now)
    stamp = Position(epoch, offset)
    return Hit(data, stamp, expires - now) if stamp >= oldest else None


def _prepare(db: sqlite3.Connection) -> None:
    if _of_this_boot(db):
        return
    with transaction(db, "IMMEDIATE"):
        for statement in _SCHEMA:
            db.execute(statement)
        if not _of_this_boot(db):
            db.execute("DELETE FROM ahc_entries")
            db.execute("REPLACE INTO ahc_boot (one, boot) VALUES (1, ?)", (BOOT,))


def _of_this_boot(db: sqlite3.Connection) -> bool:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'ahc_boot'").fetchone() is None:
        return False
    return bool(db.execute("SELECT boot FROM ahc_boot").fetchone() == (BOOT,))
