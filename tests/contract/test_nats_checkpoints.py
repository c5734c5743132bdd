from __future__ import annotations

from uuid import uuid4

import pytest

from async_hybrid_cache.testing.checkpoint_contract import CheckpointStoreContract
from async_hybrid_cache.testing.worlds import CheckpointWorld
from async_hybrid_cache_brokers.nats.checkpoints import NatsKVCheckpointStore
from tests.servers.server import Server


class NatsWorld(CheckpointWorld):
    def __init__(self, url: str, replicas: int = 1) -> None:
        super().__init__()
        self._url = url
        self._replicas = replicas
        self._bucket = f"contract-{uuid4()}"

    def make(self) -> NatsKVCheckpointStore:
        return NatsKVCheckpointStore(self._url, bucket=self._bucket, replicas=self._replicas)


class TestNatsCheckpoints(CheckpointStoreContract):
    @pytest.fixture
    def world(self, nats: Server) -> NatsWorld:
        return NatsWorld(nats.url)
