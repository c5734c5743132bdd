"""Checkpoints in a PostgreSQL table, also inside the caller's own transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from async_hybrid_cache.checkpoint import Kept
from async_hybrid_cache.errors import CheckpointConflict, CheckpointError, ConfigurationError

from .names import FAILURES, checked_url, quoted, told

__all__ = ["PostgresCheckpointStore"]

_CONNECT_SECONDS = 5
_CALL_SECONDS = 5.0


class PostgresCheckpointStore:
    """Documents in `table` of the database behind `url`, over a connection of its own; needs asyncpg.

    `table` may be qualified (`schema.table`); it is created where it does not exist. Where it is in the application's
    own database, a handler commits its position together with its effects; see `Delivery.commit`. Behind a pooler
    such as PgBouncer it works in session and in transaction mode.
    """

    def __init__(self, url: str, *, table: str = "ahc_checkpoints") -> None:
        self._url = checked_url(url)
        self._name = table
        self._table = quoted(table)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._connection: Any = None

    def __repr__(self) -> str:
        return f"PostgresCheckpointStore(table={self._name!r})"

    async def open(self) -> None:
        """Connect, unless a live connection is there, and create the table where it is not."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._turn, self._connection = loop, asyncio.Lock(), None
        async with self._turn, self._mapped():
            await self._connected()

    async def close(self) -> None:
        """Disconnect; calls under way fail."""
        connection, self._connection, self._loop = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                await connection.close(timeout=1.0)

    async def load(self, name: str) -> Kept | None:
        """The document under `name`."""
        async with self._session() as connection:
            statement = f"SELECT data, version FROM {self._table} WHERE name = $1"
            row = await connection.fetchrow(statement, _key(name), timeout=_CALL_SECONDS)
        return None if row is None else Kept(row["data"], row["version"])

    async def save(self, name: str, data: bytes, version: int) -> int:
        """Replace the document of this version, in a transaction of its own."""
        async with self._session() as connection:
            return await self._save(connection, name, data, version)

    async def write(self, connection: Any, name: str, data: bytes, version: int) -> int:
        """`save` within the transaction that is open on `connection`, an asyncpg connection to the same database."""
        if not callable(getattr(connection, "is_in_transaction", None)):
            raise ConfigurationError(f"an asyncpg connection is needed, not {type(connection).__name__}")
        if not connection.is_in_transaction():
            raise CheckpointError("no transaction is open on the connection; use `async with connection.transaction()`")
        return await self._save(connection, name, data, version)

    async def _save(self, connection: Any, name: str, data: bytes, version: int) -> int:
        if version:
            fresh = version + 1
            statement = f"UPDATE {self._table} SET data = $2, version = $3 WHERE name = $1 AND version = $4"
            status = await connection.execute(statement, _key(name), data, fresh, version, timeout=_CALL_SECONDS)
        else:
            # never one of a document that was deleted, as it would be if they began at 1
            fresh = time.time_ns() // 1_000
            statement = f"INSERT INTO {self._table} (name, data, version) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
            status = await connection.execute(statement, _key(name), data, fresh, timeout=_CALL_SECONDS)
        if not status.endswith(" 1"):
            raise CheckpointConflict(f"the checkpoint {name!r} is not at version {version} any more")
        return fresh

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            # statements are not cached, since a pooler may give each transaction another session
            connection = await asyncpg.connect(self._url, timeout=_CONNECT_SECONDS, statement_cache_size=0)
            try:
                await self._create(connection)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection

    async def _create(self, connection: Any) -> None:
        # asked first, as creating takes a permission that is needed once
        if await connection.fetchval("SELECT to_regclass($1)", self._table) is not None:
            return
        try:
            await connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} "
                "(name bytea PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL)"
            )
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError):
            pass  # somebody else created it at the same moment

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Any]:
        if self._loop is not asyncio.get_running_loop():
            raise CheckpointError(f"{self!r} is not open")
        async with self._turn, self._mapped():
            connection = await self._connected()
            try:
                yield connection
            except (asyncio.CancelledError, TimeoutError):
                # the answer may still come, and must not be taken for that to another call
                connection.terminate()
                raise

    @asynccontextmanager
    async def _mapped(self) -> AsyncIterator[None]:
        try:
            yield
        except FAILURES as error:
            raise CheckpointError(told(self._name, error)) from error


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
