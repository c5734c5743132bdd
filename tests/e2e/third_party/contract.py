"""The contract on this broker; run with pytest where the distribution is installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from folderlog import FolderLog

from async_hybrid_cache.testing import LogContract, LogWorld


class FolderWorld(LogWorld):
    has_server = has_credentials = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._root, self._copy = folder / "log", folder / "copy"

    def make(self) -> FolderLog:
        return FolderLog(self._root)

    async def delete(self) -> None:
        shutil.rmtree(self._root)

    async def trim(self, keep: int) -> None:
        (epoch,) = (name for name in os.listdir(self._root) if name.isdecimal())
        for offset in sorted(map(int, os.listdir(self._root / epoch)))[: -keep - 25]:  # lazily, as real ones do
            (self._root / epoch / str(offset)).unlink()

    async def restart(self) -> None:
        pass  # there is nothing but the folder

    async def back_up(self) -> None:
        shutil.copytree(self._root, self._copy)

    async def restore(self) -> None:
        shutil.rmtree(self._root)
        shutil.copytree(self._copy, self._root)


class TestFolderLog(LogContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FolderWorld:
        return FolderWorld(tmp_path)
