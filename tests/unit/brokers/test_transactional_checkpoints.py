"""Positions written in the handler's own transaction, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest

from async_hybrid_cache import CheckpointConflict, CheckpointError, ConfigurationError, InvalidationBus, StreamOptions
from async_hybrid_cache.checkpoint import TransactionalCheckpointStore
from async_hybrid_cache.subscription import Delivery
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.postgres import PostgresCheckpointStore
from async_hybrid_cache_brokers.sqlite import SqliteCheckpointStore
from async_hybrid_cache_codecs.events import KeysRemoved
from async_hybrid_cache_codecs.frames import seal
from tests.servers.server import Server
from tests.unit.core.scripted_log import ScriptedLog


class Database(ABC):
    """An application's database, with a table of effects."""

    @abstractmethod
    def store(self) -> TransactionalCheckpointStore:
        """The positions in it."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A connection with an open transaction, committed at the end."""

    @abstractmethod
    async def insert(self, connection: Any, key: str) -> None:
        """An effect."""

    @abstractmethod
    async def effects(self) -> list[str]:
        """All of them, in order."""


class Sqlite(Database):
    def __init__(self, path: Path) -> None:
        self._path = path
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE effects (key TEXT)")
        connection.close()

    def store(self) -> SqliteCheckpointStore:
        return SqliteCheckpointStore(self._path)

    @asynccontextmanager
    async def transaction(self):  # type: ignore[no-untyped-def]
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        finally:
            connection.close()

    async def insert(self, connection: Any, key: str) -> None:
        connection.execute("INSERT INTO effects VALUES (?)", (key,))

    async def effects(self) -> list[str]:
        async with self.transaction() as connection:
            return [key for (key,) in connection.execute("SELECT key FROM effects ORDER BY rowid")]


class Postgres(Database):
    def __init__(self, url: str) -> None:
        self._url = url
        self._table = f"effects_{uuid.uuid4().hex}"
        asyncio.run(self._create())

    async def _create(self) -> None:
        connection = await asyncpg.connect(self._url)
        await connection.execute(f"CREATE TABLE {self._table} (n serial, key text)")
        await connection.close()

    def store(self) -> PostgresCheckpointStore:
        return PostgresCheckpointStore(self._url, table=f"{self._table}_positions")

    @asynccontextmanager
    async def transaction(self):  # type: ignore[no-untyped-def]
        connection = await asyncpg.connect(self._url)
        try:
            async with connection.transaction():
                yield connection
        finally:
            await connection.close()

    async def insert(self, connection: Any, key: str) -> None:
        await connection.execute(f"INSERT INTO {self._table} (key) VALUES ($1)", key)

    async def effects(self) -> list[str]:
        async with self.transaction() as connection:
            return [row["key"] for row in await connection.fetch(f"SELECT key FROM {self._table} ORDER BY n")]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return Sqlite(tmp_path / "app.db")
    server: Server = request.getfixturevalue("postgres")
    return Postgres(server.url)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


async def awaited(written: Any) -> int:
    found = await written if inspect.isawaitable(written) else written
    assert isinstance(found, int)
    return found


def test_a_write_counts_once_the_transaction_is_committed(database: Database) -> None:
    async def scenario() -> None:
        store = database.store()

        async def rolled_back(version: int) -> None:
            async with database.transaction() as connection:
                await awaited(store.write(connection, "n", b"rolled back", version))
                raise ZeroDivisionError

        await store.open()
        try:
            first = await store.save("n", b"one", 0)
            with pytest.raises(ZeroDivisionError):
                await rolled_back(first)
            assert await store.load("n") == (b"one", first)
            async with database.transaction() as connection:
                second = await awaited(store.write(connection, "n", b"two", first))
            assert await store.load("n") == (b"two", second)
            async with database.transaction() as connection:
                fresh = await awaited(store.write(connection, "new", b"data", 0))
            assert await store.load("new") == (b"data", fresh)
        finally:
            await store.close()

    run(scenario)


def test_a_write_of_another_version_conflicts(database: Database) -> None:
    async def scenario() -> None:
        store = database.store()

        async def too_old(version: int) -> None:
            async with database.transaction() as connection:
                await database.insert(connection, "an effect")
                await awaited(store.write(connection, "n", b"old", version))

        await store.open()
        try:
            first = await store.save("n", b"one", 0)
            second = await store.save("n", b"two", first)
            for version in (0, first, second + 1):
                with pytest.raises(CheckpointConflict):
                    await too_old(version)
            assert await store.load("n") == (b"two", second)
            assert await database.effects() == []
        finally:
            await store.close()

    run(scenario)


def test_a_connection_that_cannot_be_used_is_refused(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        store = database.store()
        await store.open()
        try:
            with pytest.raises(ConfigurationError, match=r"(?i)connection is needed"):
                await awaited(store.write("connection", "n", b"", 0))
            async with database.transaction() as connection:
                if isinstance(connection, sqlite3.Connection):
                    connection.execute("COMMIT")
                    with pytest.raises(CheckpointError, match="no transaction"):
                        await awaited(store.write(connection, "n", b"", 0))
                    elsewhere = sqlite3.connect(tmp_path / "elsewhere.db", isolation_level=None)
                    elsewhere.execute("BEGIN")
                    with pytest.raises(CheckpointError, match="to another file than SqliteCheckpointStore"):
                        await awaited(store.write(elsewhere, "n", b"", 0))
                    elsewhere.close()
                    connection.execute("BEGIN")
            assert await store.load("n") is None
        finally:
            await store.close()

    run(scenario)


class Scene:
    """A log, and a handler that inserts an effect for each event."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.name = f"transactional-{uuid.uuid4()}"
        self.log = ScriptedLog(self.name)
        self.calls = 0
        self.number = 0
        self.after: Callable[[int], Awaitable[None]] | None = None
        self.before_commit: Callable[[int], Awaitable[None]] | None = None

    async def handle(self, delivery: Delivery) -> None:
        self.calls += 1
        call = self.calls
        assert isinstance(delivery.event, KeysRemoved)
        async with self.database.transaction() as connection:
            await self.database.insert(connection, delivery.event.keys[0])
            if self.before_commit:
                await self.before_commit(call)
            await delivery.commit(connection)
        if self.after:
            await self.after(call)

    def subscription(self, store: TransactionalCheckpointStore | None = None) -> Any:
        stream = StreamOptions(lease_seconds=0.6, proof_seconds=0.1, retry_max_seconds=0.05)
        bus = InvalidationBus(lambda: ScriptedLog(self.name), stream)
        return bus.subscribe("s", self.handle, checkpoints=store or self.database.store())

    async def append(self, *keys: str) -> None:
        events = [KeysRemoved("default", (key,)) for key in keys]
        sealed = seal(1, "o", self.number + 1, 0, events)
        self.number += len(keys)
        await self.log.append(sealed.data, sealed.id)

    async def has_effects(self, *keys: str) -> None:
        async def found() -> bool:
            return len(await self.database.effects()) >= len(keys)

        await eventually(found, timeout=10.0, poll_seconds=0.02)
        assert await self.database.effects() == list(keys)


def test_a_commit_whose_answer_was_lost_is_not_repeated(database: Database) -> None:
    async def scenario() -> None:
        scene = Scene(database)
        await scene.log.open()

        async def lose_the_answer(call: int) -> None:
            if call % 2:
                raise ConnectionError("the connection broke after COMMIT")

        scene.after = lose_the_answer
        async with scene.subscription() as subscription:
            await scene.append("a", "b", "c")
            await scene.append("d")
            await scene.has_effects("a", "b", "c", "d")
            await eventually(lambda: subscription.stats().delivered == 4)
            assert scene.calls == 4
            assert subscription.stats().retries == 0

    run(scenario)


def test_a_transaction_that_failed_is_repeated(database: Database) -> None:
    async def scenario() -> None:
        scene = Scene(database)
        await scene.log.open()

        async def fail_twice(call: int) -> None:
            if call in (1, 2, 4):
                raise ConnectionError("the row is locked")

        scene.before_commit = fail_twice
        async with scene.subscription() as subscription:
            await scene.append("a", "b")
            await scene.has_effects("a", "b")
            await eventually(lambda: subscription.stats().delivered == 2)
            assert subscription.stats().retries == 3

    run(scenario)


def test_a_restart_resumes_exactly_behind_the_last_commit(database: Database) -> None:
    async def scenario() -> None:
        scene = Scene(database)
        await scene.log.open()
        async with scene.subscription():
            await scene.append("a", "b", "c")
            await scene.has_effects("a", "b", "c")
        await scene.append("d", "e")
        async with scene.subscription():
            await scene.has_effects("a", "b", "c", "d", "e")

    run(scenario)


def test_a_deposed_owners_transaction_is_rolled_back(database: Database) -> None:
    """It stood still between its effect and its commit for longer than its lease."""

    async def scenario() -> None:
        old, new = Scene(database), Scene(database)
        new.name, new.log = old.name, old.log
        await old.log.open()
        conflicts: list[BaseException] = []
        taken_over = asyncio.Event()
        stalled = Stalled(database.store())

        async def handle(delivery: Delivery) -> None:
            stalled.away = True  # it does not beat any more, as one that is frozen
            await taken_over.wait()
            try:
                await old.handle(delivery)
            except CheckpointConflict as conflict:
                conflicts.append(conflict)
                raise

        stream = StreamOptions(lease_seconds=0.6, proof_seconds=0.1)
        bus = InvalidationBus(lambda: ScriptedLog(old.name), stream)
        async with bus.subscribe("s", handle, checkpoints=stalled), new.subscription() as successor:
            await old.append("a", "b")
            await new.has_effects("a", "b")
            assert successor.stats().owner
            taken_over.set()
            await eventually(lambda: conflicts)
            assert await database.effects() == ["a", "b"]

    run(scenario)


class Stalled:
    """A store that does not answer its own process, while a transaction of the handler's still reaches it."""

    def __init__(self, store: TransactionalCheckpointStore) -> None:
        self._store = store
        self.away = False
        self.open, self.close, self.write = store.open, store.close, store.write

    async def load(self, name: str) -> Any:
        if self.away:
            raise CheckpointError("away")
        return await self._store.load(name)

    async def save(self, name: str, data: bytes, version: int) -> int:
        if self.away:
            raise CheckpointError("away")
        return await self._store.save(name, data, version)
