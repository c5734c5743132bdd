from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from async_hybrid_cache.testing.log_cancellation import LogCancellationContract
from async_hybrid_cache.testing.log_contract import DeletableLogContract
from async_hybrid_cache.testing.worlds import LogWorld
from async_hybrid_cache_brokers.redis import RedisStreamsLog
from tests.servers.valkey import RedisServer


class RedisWorld(LogWorld):
    def __init__(self, url: str, **client_options: Any) -> None:
        super().__init__()
        self._url = url
        self._client_options = client_options
        self._stream = f"contract-{uuid4()}"

    def make(self) -> RedisStreamsLog:
        client = Redis.from_url(self._url, **self._client_options)
        return RedisStreamsLog(client, stream=self._stream, retention_records=self.retention_records)

    async def delete(self) -> None:
        async with Redis.from_url(self._url) as redis:
            assert await redis.delete(self._stream) == 1


class TestRedisLog(DeletableLogContract, LogCancellationContract):
    recognises_repeats = False  # the stream itself knows no ids; only an unknown fate is worth a search

    @pytest.fixture(params=[False, True], ids=["bytes", "decoded"])
    def world(self, valkey: RedisServer, request: pytest.FixtureRequest) -> RedisWorld:
        return RedisWorld(valkey.url, decode_responses=request.param)
