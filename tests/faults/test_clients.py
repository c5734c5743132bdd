"""Redis clients as users make them: every kind works, and none is harmed."""

from __future__ import annotations

import asyncio
import gc
import os
from time import monotonic
from typing import Any

import psutil
import pytest
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis

from async_hybrid_cache import AsyncHybridCache, RedisDistributedCache, RedisStreamsInvalidationBus
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, member, stream_of
from tests.faults.member import Member
from tests.faults.places import RedisPlace
from tests.servers.valkey import ValkeyServer


def default(server: ValkeyServer, **options: Any) -> Redis:
    """What `Redis()` makes, on the port of the server."""
    return Redis(port=server.port, **options)


def from_url(server: ValkeyServer, **options: Any) -> Redis:
    return Redis.from_url(server.url, **options)


def from_pool(server: ValkeyServer, **options: Any) -> Redis:
    return Redis(connection_pool=ConnectionPool.from_url(server.url, max_connections=2, **options))


def from_blocking_pool(server: ValkeyServer, **options: Any) -> Redis:
    return Redis(connection_pool=BlockingConnectionPool.from_url(server.url, max_connections=2, timeout=1, **options))


def cache_on(redis: Redis) -> AsyncHybridCache:
    return AsyncHybridCache(
        distributed_cache=RedisDistributedCache(redis), invalidation_bus=RedisStreamsInvalidationBus(redis)
    )


def sockets(port: int) -> int:
    """Connections of this process to `port`."""
    found = psutil.Process(os.getpid()).net_connections("tcp")
    return sum(1 for each in found if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("make", [default, from_url, from_pool, from_blocking_pool])
def test_every_kind_of_client_carries_the_whole_path(
    make: Any, decode_responses: bool, protocol: int, own_valkey: ValkeyServer, database: Database
) -> None:
    async def main() -> None:
        one, other = (make(own_valkey, decode_responses=decode_responses, protocol=protocol) for _ in range(2))
        async with cache_on(one) as first, cache_on(other) as second:
            fleet = [Member(first, database), Member(second, database)]
            for turn in range(12):
                key = f"key-{turn % 3}"
                assert not (await fleet[turn % 2].write(key)).queued
                await fresh_everywhere(database, fleet, [key], monotonic(), within=1.0)
            filled, hit = first.stats().distributed.fills, second.stats().distributed.hits
            await fleet[0].read("shared")
            await eventually(lambda: first.stats().distributed.fills == filled + 1)
            await fleet[1].read("shared")
            assert second.stats().distributed.hits == hit + 1
            for stats in (first.stats().distributed, second.stats().distributed):
                assert (stats.errors, stats.undecodable) == (0, 0)
        await one.aclose()
        await other.aclose()

    asyncio.run(main())


def test_two_hundred_concurrent_removes_on_a_default_client_all_succeed(
    own_valkey: ValkeyServer, database: Database
) -> None:
    async def main() -> None:
        redis = default(own_valkey)
        async with cache_on(redis) as cache, member(RedisPlace(own_valkey.url, "ahc"), database) as other:
            one = Member(cache, database)
            keys = [f"key-{i}" for i in range(200)]
            for _ in range(5):
                await fresh_everywhere(database, [one, other], keys, monotonic())
                changes = await asyncio.gather(*(one.write(key) for key in keys))
                assert not any(change.queued for change in changes)
                await fresh_everywhere(database, [one, other], keys, monotonic(), within=1.0)
            assert cache.stats().distributed.errors == 0
        await redis.aclose()

    asyncio.run(main())


def test_an_idle_stream_keeps_its_listener(own_valkey: ValkeyServer, database: Database) -> None:
    async def main() -> None:
        redis = default(own_valkey)
        async with cache_on(redis) as cache, member(RedisPlace(own_valkey.url, "ahc"), database) as other:
            one = Member(cache, database)
            await one.write("key")
            await fresh_everywhere(database, [one, other], ["key"], monotonic())
            # longer than the socket timeout of a default client of redis-py 8, which is 5 s
            await asyncio.sleep(6.5)
            for writer in (other, one):
                await writer.write("key")
                await fresh_everywhere(database, [one, other], ["key"], monotonic(), within=0.5)
            for instance in (one, other):
                stats = await instance.stats()
                assert stream_of(stats).reconnects == 0
                assert stream_of(stats).gap_total == 0
                assert stats.distributed.errors == 0
        await redis.aclose()

    asyncio.run(main())


def test_stop_leaves_the_given_client_alone_and_nothing_of_its_own(
    own_valkey: ValkeyServer, database: Database
) -> None:
    async def main() -> None:
        redis = default(own_valkey)
        await redis.set("mine", "kept")
        own = await redis.client_id()
        before = sockets(own_valkey.port)
        for _ in range(3):
            async with cache_on(redis) as cache:
                one = Member(cache, database)
                await one.read_all([f"key-{i}" for i in range(50)])
                await one.write("key")
                assert sockets(own_valkey.port) > before
            assert asyncio.all_tasks() == {asyncio.current_task()}
            await eventually(lambda: sockets(own_valkey.port) == before)
        assert await redis.client_id() == own
        assert await redis.get("mine") == b"kept"
        await redis.aclose()

    asyncio.run(main())
    gc.collect()


def test_stop_leaves_nothing_behind_where_the_server_is_gone_too(own_valkey: ValkeyServer, database: Database) -> None:
    async def main() -> None:
        for fault in (own_valkey.stop, own_valkey.kill):
            redis = default(own_valkey)
            async with cache_on(redis) as cache:
                one = Member(cache, database)
                await one.write("key")
                fault()
                await one.write("key")
                began = monotonic()
            assert monotonic() - began < 5.0
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert sockets(own_valkey.port) == 0
            if fault == own_valkey.stop:
                own_valkey.cont()
            await redis.aclose()

    asyncio.run(main())
    gc.collect()
