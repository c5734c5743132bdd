from __future__ import annotations

from uuid import uuid4

import pytest

from async_hybrid_cache.testing import LogContract, LogWorld
from async_hybrid_cache_brokers.memory import MemoryLog


class MemoryWorld(LogWorld):
    survives_restart = has_server = has_credentials = False

    def __init__(self) -> None:
        super().__init__()
        self._name = f"contract-{uuid4()}"

    def make(self) -> MemoryLog:
        return MemoryLog(self._name)

    async def delete(self) -> None:
        MemoryLog.delete(self._name)

    async def trim(self, keep: int) -> None:
        trimming = MemoryLog(self._name, retention_records=keep + 1)
        await trimming.open()
        await trimming.append(b"", "trimmed")


class TestMemoryLog(LogContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()
