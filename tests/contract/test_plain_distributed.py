"""What a plain cache becomes, within one process: its leases reach no further, so all handles are one."""

from __future__ import annotations

import random
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from async_hybrid_cache.clock import SystemClock
from async_hybrid_cache.distributed import DistributedCache
from async_hybrid_cache.plain import PlainDistributedCache, adapted
from async_hybrid_cache.testing.distributed_concurrency import DistributedConcurrencyContract
from async_hybrid_cache.testing.distributed_contract import DistributedContract
from async_hybrid_cache.testing.worlds import DistributedWorld
from tests.plain_redis import PlainRedis
from tests.servers.server import Server
from tests.unit.core.plain_memory import PlainMemory


class PlainWorld(DistributedWorld):
    def __init__(self, plain: PlainDistributedCache) -> None:
        super().__init__()
        self._plain = plain
        self._only = adapted(plain, SystemClock(), random.SystemRandom())

    def make(self) -> DistributedCache:
        assert self._only is not None
        return self._only

    async def settle_neighbours(self) -> None:
        await self._plain.set("theirs", "theirs", ttl_seconds=60)

    async def check_neighbours(self) -> None:
        assert await self._plain.get("theirs") == "theirs"


class PlainRedisWorld(PlainWorld):
    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url)
        super().__init__(PlainRedis(self._client, f"contract-{uuid4()}:"))

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        await self._client.aclose()


class TestPlainMemory(DistributedContract, DistributedConcurrencyContract):
    @pytest.fixture
    def world(self) -> PlainWorld:
        return PlainWorld(PlainMemory())


class TestPlainRedis(DistributedContract, DistributedConcurrencyContract):
    @pytest.fixture
    def world(self, valkey: Server) -> PlainWorld:
        return PlainRedisWorld(valkey.url)
