from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import pytest
from nats.errors import NoRespondersError

from async_hybrid_cache.testing.distributed_concurrency import DistributedConcurrencyContract
from async_hybrid_cache.testing.distributed_contract import DistributedContract, data_of, put
from async_hybrid_cache.testing.distributed_watches import WatchContract
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache.testing.worlds import DistributedWorld
from async_hybrid_cache_brokers.nats.address import Address
from async_hybrid_cache_brokers.nats.client import Connection
from async_hybrid_cache_brokers.nats.distributed import NatsKVDistributedCache
from tests.servers.server import Server


class NatsWorld(DistributedWorld):
    def __init__(self, url: str, replicas: int = 1) -> None:
        super().__init__()
        self._url = url
        self._replicas = replicas
        self._bucket = f"contract-{uuid4()}"
        # a name that ours is a prefix of
        self._neighbour = self._cache(f"{self._bucket}2")
        self._connection = Connection(Address(url))

    def make(self) -> NatsKVDistributedCache:
        return self._cache(self._bucket)

    async def settle_neighbours(self) -> None:
        await self._neighbour.open()
        await put(self._neighbour, "key", b"theirs")
        await self._connection.connect()
        stream = f"{self._bucket}-log"
        await self._connection.api(f"STREAM.CREATE.{stream}", {"name": stream, "subjects": [f"{stream}.>"]})

        async def published() -> bool:
            with suppress(NoRespondersError):  # a server that does not know of the new stream yet
                await self._connection.call(f"{stream}.scope.key", b"theirs")
                return True
            return False

        await eventually(published)

    async def check_neighbours(self) -> None:
        assert await data_of(self._neighbour, "key") == b"theirs"
        assert (await self._connection.api(f"STREAM.INFO.{self._bucket}-log"))["state"]["messages"] == 1

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__(*error)
        await self._neighbour.close()
        await self._connection.drop()

    def _cache(self, bucket: str) -> NatsKVDistributedCache:
        return NatsKVDistributedCache(self._url, bucket=bucket, max_bytes=32 * 1024 * 1024, replicas=self._replicas)


class TestNatsDistributed(DistributedContract, DistributedConcurrencyContract, WatchContract):
    @pytest.fixture
    def world(self, nats: Server) -> NatsWorld:
        return NatsWorld(nats.url)
