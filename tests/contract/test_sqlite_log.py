from __future__ import annotations

from pathlib import Path

import pytest

from async_hybrid_cache.testing.log_cancellation import LogCancellationContract
from async_hybrid_cache.testing.log_contract import DeletableLogContract
from async_hybrid_cache.testing.worlds import LogWorld
from async_hybrid_cache_brokers.sqlite import SqliteLog


class SqliteWorld(LogWorld):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def make(self) -> SqliteLog:
        return SqliteLog(self._folder / "log.db", retention_records=self.retention_records)

    async def delete(self) -> None:
        for file in self._folder.glob("log.db*"):
            if file.is_file():
                file.unlink()


class TestSqliteLog(DeletableLogContract, LogCancellationContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SqliteWorld:
        return SqliteWorld(tmp_path)
