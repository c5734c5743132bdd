from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from async_hybrid_cache.testing.distributed_concurrency import DistributedConcurrencyContract
from async_hybrid_cache.testing.distributed_contract import DistributedContract, data_of, put
from async_hybrid_cache.testing.distributed_watches import WatchContract
from async_hybrid_cache.testing.worlds import DistributedWorld
from async_hybrid_cache_brokers.redis import RedisDistributedCache, RedisStreamsLog
from tests.servers.server import Server


class RedisWorld(DistributedWorld):
    def __init__(self, url: str, **client_options: Any) -> None:
        super().__init__()
        self._client = Redis.from_url(url, **client_options)
        self._prefix = f"contract-{uuid4()}"
        # a prefix that ours is a prefix of
        self._neighbour = RedisDistributedCache(self._client, prefix=f"{self._prefix}2")
        self._log = RedisStreamsLog(self._client, stream=f"{self._prefix}-log")

    def make(self) -> RedisDistributedCache:
        return RedisDistributedCache(self._client, prefix=self._prefix)

    async def settle_neighbours(self) -> None:
        await self._neighbour.open()
        await put(self._neighbour, "key", b"theirs")
        await self._log.open()
        await self._log.append(b"theirs", "id")
        await self._client.set(f"{self._prefix}-foreign", "theirs")

    async def check_neighbours(self) -> None:
        assert await data_of(self._neighbour, "key") == b"theirs"
        assert (await self._log.bounds()).last == 1
        assert await self._client.get(f"{self._prefix}-foreign") in ("theirs", b"theirs")
        await self._neighbour.close()
        await self._log.close()
        await self._client.aclose()


class TestRedisDistributed(DistributedContract, DistributedConcurrencyContract, WatchContract):
    @pytest.fixture(params=[False, True], ids=["bytes", "decoded"])
    def world(self, valkey: Server, request: pytest.FixtureRequest) -> RedisWorld:
        return RedisWorld(valkey.url, decode_responses=request.param)
