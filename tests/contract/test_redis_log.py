from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from async_hybrid_cache.testing import LogContract
from async_hybrid_cache_brokers.redis import RedisStreamsLog
from tests.contract.hosted import Host, HostedWorld, hosted


class RedisWorld(HostedWorld):
    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._stream = f"contract-{uuid4()}"

    def make_at(self, url: str) -> RedisStreamsLog:
        # what the user's client decodes is no concern of the log's
        return RedisStreamsLog(Redis.from_url(url, decode_responses=True), stream=self._stream)

    async def delete(self) -> None:
        async with Redis.from_url(self.host.url) as redis:
            assert await redis.delete(self._stream) == 1

    async def trim(self, keep: int) -> None:
        async with Redis.from_url(self.host.url) as redis:
            await redis.xtrim(self._stream, maxlen=keep, approximate=False)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted("valkey", tmp_path_factory) as host:
        yield host


class TestRedisLog(LogContract):
    @pytest.fixture
    def world(self, host: Host) -> RedisWorld:
        return RedisWorld(host)
