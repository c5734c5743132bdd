from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from async_hybrid_cache.testing import LogContract, LogWorld
from async_hybrid_cache_brokers.sqlite import SqliteLog


class SqliteWorld(LogWorld):
    has_server = has_credentials = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / "log.db"
        self._copy = folder / "copy"

    def make(self) -> SqliteLog:
        return SqliteLog(self._path)

    async def delete(self) -> None:
        for file in self._files(self._path.parent):
            file.unlink()

    async def trim(self, keep: int) -> None:
        with closing(sqlite3.connect(self._path)) as db, db:
            db.execute("DELETE FROM ahc_log WHERE offset <= (SELECT last FROM ahc_meta) - ?", (keep,))

    async def restart(self) -> None:
        # what a process that is killed now would leave behind: no connection was closed, no WAL checkpointed
        await self.back_up()
        await self.restore()

    async def back_up(self) -> None:
        self._copy.mkdir()
        for file in self._files(self._path.parent):
            shutil.copy(file, self._copy)

    async def restore(self) -> None:
        await self.delete()
        for file in self._files(self._copy):
            shutil.copy(file, self._path.parent)

    def _files(self, folder: Path) -> list[Path]:
        return [file for suffix in ("", "-wal") if (file := folder / f"log.db{suffix}").exists()]


class TestSqliteLog(LogContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SqliteWorld:
        return SqliteWorld(tmp_path)
