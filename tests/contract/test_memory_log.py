from __future__ import annotations

import itertools

import pytest

from async_hybrid_cache.testing.log_cancellation import LogCancellationContract
from async_hybrid_cache.testing.log_contract import LogContract
from async_hybrid_cache.testing.worlds import LogWorld
from async_hybrid_cache_brokers.memory import MemoryLog

_numbers = itertools.count()


class MemoryWorld(LogWorld):
    def __init__(self) -> None:
        super().__init__()
        self._name = f"contract-{next(_numbers)}"

    def make(self) -> MemoryLog:
        return MemoryLog(self._name, retention_records=self.retention_records)


class TestMemoryLog(LogContract, LogCancellationContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()
