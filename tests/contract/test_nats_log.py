from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import nats
import pytest
from nats.js import JetStreamContext

from async_hybrid_cache.testing import LogContract
from async_hybrid_cache_brokers.nats import NatsLog
from tests.contract.hosted import Host, HostedWorld, hosted


class NatsWorld(HostedWorld):
    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._stream = f"contract-{uuid4()}"

    def make_at(self, url: str) -> NatsLog:
        return NatsLog(url, stream=self._stream)

    async def delete(self) -> None:
        async with self._jetstream() as jetstream:
            assert await jetstream.delete_stream(self._stream)

    async def trim(self, keep: int) -> None:
        async with self._jetstream() as jetstream:
            await jetstream.purge_stream(self._stream, subject=f"{self._stream}.events", keep=keep)

    @asynccontextmanager
    async def _jetstream(self) -> AsyncIterator[JetStreamContext]:
        async with await nats.connect(self.host.url) as client:
            yield client.jetstream()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted("nats", tmp_path_factory) as host:
        yield host


class TestNatsLog(LogContract):
    @pytest.fixture
    def world(self, host: Host) -> NatsWorld:
        return NatsWorld(host)
