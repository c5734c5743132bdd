"""The checkpoint stores pass one contract."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from async_hybrid_cache.filecheckpoint import FileCheckpointStore
from async_hybrid_cache.testing.checkpoint_contract import CheckpointStoreContract
from async_hybrid_cache.testing.worlds import CheckpointWorld
from async_hybrid_cache_brokers.postgres import PostgresCheckpointStore
from async_hybrid_cache_brokers.redis import RedisCheckpointStore
from async_hybrid_cache_brokers.sqlite import SqliteCheckpointStore
from tests.servers.server import Server


class FileWorld(CheckpointWorld):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def make(self) -> FileCheckpointStore:
        return FileCheckpointStore(self._folder / "state")


class SqliteWorld(CheckpointWorld):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def make(self) -> SqliteCheckpointStore:
        return SqliteCheckpointStore(self._folder / "state.db")


class RedisWorld(CheckpointWorld):
    def __init__(self, url: str, *, decode: bool) -> None:
        super().__init__()
        self._url, self._decode = url, decode
        self._prefix = f"contract-{uuid4()}"

    def make(self) -> RedisCheckpointStore:
        return RedisCheckpointStore(Redis.from_url(self._url, decode_responses=self._decode), prefix=self._prefix)


class TestFiles(CheckpointStoreContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FileWorld:
        return FileWorld(tmp_path)


class TestSqlite(CheckpointStoreContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SqliteWorld:
        return SqliteWorld(tmp_path)


class TestRedis(CheckpointStoreContract):
    @pytest.fixture(params=[False, True], ids=["bytes", "decoded"])
    def world(self, valkey: Server, request: pytest.FixtureRequest) -> RedisWorld:
        return RedisWorld(valkey.url, decode=request.param)


class PostgresWorld(CheckpointWorld):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._table = f"contract_{uuid4().hex}"

    def make(self) -> PostgresCheckpointStore:
        return PostgresCheckpointStore(self._url, table=self._table)


class TestPostgres(CheckpointStoreContract):
    @pytest.fixture
    def world(self, postgres: Server) -> PostgresWorld:
        return PostgresWorld(postgres.url)
