"""L2 and log on different servers, of which one alone goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

from redis.asyncio import Redis

from async_hybrid_cache import (
    AsyncHybridCache,
    RedisDistributedCache,
    RedisStreamsInvalidationBus,
    SqliteDistributedCache,
    SqliteInvalidationBus,
)
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, gaps, stream_of, write_all
from tests.faults.member import Member
from tests.faults.places import SqlitePlace
from tests.servers.valkey import ValkeyServer

KEYS = [f"key-{i}" for i in range(30)]


@asynccontextmanager
async def redis_l2(server: ValkeyServer, file: SqlitePlace, database: Database) -> AsyncIterator[Member]:
    """L2 on Redis, the log in a file."""
    redis = Redis.from_url(server.url)
    async with AsyncHybridCache(
        distributed_cache=RedisDistributedCache(redis), invalidation_bus=SqliteInvalidationBus(file.path)
    ) as cache:
        yield Member(cache, database)
    await redis.aclose()


@asynccontextmanager
async def redis_log(server: ValkeyServer, file: SqlitePlace, database: Database) -> AsyncIterator[Member]:
    """The log on Redis, L2 in a file."""
    redis = Redis.from_url(server.url)
    async with AsyncHybridCache(
        distributed_cache=SqliteDistributedCache(file.path), invalidation_bus=RedisStreamsInvalidationBus(redis)
    ) as cache:
        yield Member(cache, database)
    await redis.aclose()


def test_without_l2_everybody_is_told_and_what_l2_still_holds_is_never_served(
    own_valkey: ValkeyServer, sqlite_place: SqlitePlace, database: Database
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            fleet = [await stack.enter_async_context(redis_l2(own_valkey, sqlite_place, database)) for _ in range(3)]
            writer = fleet[0]
            await write_all(writer, KEYS)
            # filled before anybody else asks, so that L2 holds every key
            await writer.read_all(KEYS)
            await eventually(lambda: writer.cache.stats().distributed.fills >= len(KEYS))
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            own_valkey.kill()
            for key in KEYS:
                assert not (await writer.write(key)).queued
                await fresh_everywhere(database, fleet, [key], monotonic(), within=1.0)
            assert writer.cache.stats().distributed.late_deletes == len(KEYS)
            await asyncio.to_thread(own_valkey.start)
            # at once, before the deletes are caught up with: the log alone tells it what L2 must not
            newcomer = await stack.enter_async_context(redis_l2(own_valkey, sqlite_place, database))
            assert await newcomer.read_all(KEYS) == database.read_all(KEYS)
            await eventually(lambda: writer.cache.stats().distributed.late_deletes == 0, timeout=2.0)
            await fresh_everywhere(database, [*fleet, newcomer], KEYS, monotonic())
            assert await gaps(fleet) == [0, 0, 0]
            # each finds out by itself that L2 answers again
            await eventually(lambda: [each.cache.health().status for each in fleet] == ["ok"] * 3, timeout=2.0)

    asyncio.run(main())


def test_without_the_log_l2_is_still_deleted_and_filled(
    own_valkey: ValkeyServer, sqlite_place: SqlitePlace, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            fleet = [await stack.enter_async_context(redis_log(own_valkey, sqlite_place, database)) for _ in range(3)]
            writer = fleet[0]
            await write_all(writer, KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            own_valkey.kill()
            for key in KEYS:
                assert (await writer.write(key)).queued
            # the writer itself, and whoever has to ask L2, have the new values already
            await fleet[1].cache.clear_memory()
            await fresh_everywhere(database, fleet[:2], KEYS, monotonic())
            assert writer.cache.stats().distributed.late_deletes == 0
            assert writer.cache.stats().distributed.state == "up"
            await asyncio.to_thread(own_valkey.start)
            figures["log alone killed"].append(await fresh_everywhere(database, fleet, KEYS, monotonic()))
            await eventually(lambda: stream_of(writer.cache.stats()).outbox == 0)
            assert await gaps(fleet) == [0, 0, 0]

    asyncio.run(main())
