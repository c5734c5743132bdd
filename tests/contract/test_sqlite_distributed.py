from __future__ import annotations

from pathlib import Path

import pytest

from async_hybrid_cache.testing.distributed_concurrency import DistributedConcurrencyContract
from async_hybrid_cache.testing.distributed_contract import DistributedContract
from async_hybrid_cache.testing.distributed_watches import WatchContract
from async_hybrid_cache.testing.worlds import DistributedWorld
from async_hybrid_cache_brokers.sqlite import SqliteDistributedCache, SqliteLog


class SqliteWorld(DistributedWorld):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._log = SqliteLog(path)

    def make(self) -> SqliteDistributedCache:
        return SqliteDistributedCache(self._path)

    async def settle_neighbours(self) -> None:
        await self._log.open()
        await self._log.append(b"theirs", "id")

    async def check_neighbours(self) -> None:
        assert (await self._log.bounds()).last == 1
        await self._log.close()


class TestSqliteDistributed(DistributedContract, DistributedConcurrencyContract, WatchContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SqliteWorld:
        return SqliteWorld(tmp_path / "cache.db")
