"""Checkpoints in an SQLite file, also inside the caller's own transaction."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from async_hybrid_cache.checkpoint import Kept
from async_hybrid_cache.errors import CheckpointConflict, CheckpointError, ConfigurationError

from .connection import Connection, closed, database_path
from .failures import UNUSABLE, explain
from .transactions import Transactions

__all__ = ["SqliteCheckpointStore"]

T = TypeVar("T")

_SCHEMA = """CREATE TABLE IF NOT EXISTS ahc_checkpoints (
    name BLOB PRIMARY KEY, version INTEGER NOT NULL, data BLOB NOT NULL) WITHOUT ROWID"""


class SqliteCheckpointStore:
    """Documents in the table `ahc_checkpoints` of the file at `path`, for the processes of one host.

    The file of the log will do. Where it is the application's own database, a handler commits its position together
    with its effects; see `Delivery.commit`. The file is switched to WAL mode. A power loss may undo the newest
    commits, an application's in the same file with them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = database_path(path)
        self._connection: Connection | None = None
        self._calls: Transactions | None = None

    def __repr__(self) -> str:
        return f"SqliteCheckpointStore({self._path!r})"

    async def open(self) -> None:
        """Open the file, and create it where there is none; calls under way come before that."""
        if self._connection is None:
            self._connection = Connection(self._path, _prepare)
            self._calls = Transactions(self._connection, "IMMEDIATE")
        try:
            await self._connection.open()
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.close()
        if connection is not None:
            await closed(connection)

    async def load(self, name: str) -> Kept | None:
        """The document under `name`."""
        return await self._run(lambda db: _load(db, name))

    async def save(self, name: str, data: bytes, version: int) -> int:
        """Replace the document of this version, in a transaction of its own."""

        def work(db: sqlite3.Connection) -> Any:
            try:
                return _save(db, name, data, version)
            except CheckpointConflict as conflict:
                return conflict  # raised to the caller alone, and not to those who share the transaction

        saved: int = await self._run(work)
        return saved

    def write(self, connection: Any, name: str, data: bytes, version: int) -> int:
        """`save` within the transaction that is open on `connection`, a `sqlite3.Connection` to the same file."""
        if not isinstance(connection, sqlite3.Connection):
            raise ConfigurationError(f"a sqlite3.Connection is needed, not {type(connection).__name__}")
        if not connection.in_transaction:
            raise CheckpointError("no transaction is open on the connection; change something first, or execute BEGIN")
        try:
            return _save(connection, name, data, version)
        except sqlite3.Error as error:
            if "no such table" in str(error):
                raise CheckpointError(f"the connection is to another file than {self!r}") from error
            raise self._failed(error) from error

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._calls is None:
            raise CheckpointError(f"{self!r} is not open")
        try:
            return await self._calls.run(work)
        except (sqlite3.Error, OSError, *UNUSABLE) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> CheckpointError:
        return CheckpointError(explain(error, self._path).message)


def _prepare(db: sqlite3.Connection) -> None:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'ahc_checkpoints'").fetchone() is None:
        db.execute(_SCHEMA)


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _load(db: sqlite3.Connection, name: str) -> Kept | None:
    row = db.execute("SELECT data, version FROM ahc_checkpoints WHERE name = ?", (_key(name),)).fetchone()
    return None if row is None else Kept(row[0], row[1])


def _save(db: sqlite3.Connection, name: str, data: bytes, version: int) -> int:
    if version:
        fresh = version + 1
        statement = "UPDATE ahc_checkpoints SET version = ?, data = ? WHERE name = ? AND version = ?"
        changed = db.execute(statement, (fresh, data, _key(name), version)).rowcount
    else:
        # never one of a document that was deleted, as it would be if they began at 1
        fresh = time.time_ns() // 1_000
        statement = "INSERT INTO ahc_checkpoints VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        changed = db.execute(statement, (_key(name), fresh, data)).rowcount
    if changed != 1:
        raise CheckpointConflict(f"the checkpoint {name!r} is not at version {version} any more")
    return fresh
