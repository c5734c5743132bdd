"""L2 and log on different servers, of which one alone goes away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import pytest
from redis.asyncio import Redis

from async_hybrid_cache import (
    AsyncHybridCache,
    RedisStreamsInvalidationBus,
    SqliteDistributedCache,
)
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, gaps, stream_of, write_all
from tests.faults.member import Member
from tests.faults.places import KafkaPlace, NatsPlace, Place, RedisPlace, SqlitePlace
from tests.servers.server import LocalServer
from tests.servers.valkey import ValkeyServer

KEYS = [f"key-{i}" for i in range(30)]


@dataclass(frozen=True)
class Halves:
    """The log on one server or in a file, L2 on another server."""

    log: Place
    l2: Place
    l2_server: LocalServer

    @asynccontextmanager
    async def member(self, database: Database) -> AsyncIterator[Member]:
        bus = find_broker(self.log.url).bus(self.log.url, namespace=self.log.namespace, stream=None)
        l2 = find_broker(self.l2.url).distributed_cache(self.l2.url, namespace=self.l2.namespace)
        async with AsyncHybridCache(distributed_cache=l2, invalidation_bus=bus) as cache:
            yield Member(cache, database)


@pytest.fixture(params=["redis", "nats", "kafka"])
def halves(request: pytest.FixtureRequest, sqlite_place: SqlitePlace) -> Halves:
    """An L2 of each kind beside a file, and one beside a log that has none."""
    namespace = f"test-{uuid.uuid4().hex[:12]}"
    if request.param == "nats":
        nats: LocalServer = request.getfixturevalue("own_nats")
        return Halves(sqlite_place, NatsPlace(nats.url, namespace), nats)
    valkey: LocalServer = request.getfixturevalue("own_valkey")
    l2 = RedisPlace(valkey.url, namespace)
    if request.param == "redis":
        return Halves(sqlite_place, l2, valkey)
    return Halves(KafkaPlace(request.getfixturevalue("kafka").url, namespace), l2, valkey)


@asynccontextmanager
async def redis_log(server: ValkeyServer, file: SqlitePlace, database: Database) -> AsyncIterator[Member]:
    """The log on Redis, L2 in a file."""
    redis = Redis.from_url(server.url)
    async with AsyncHybridCache(
        distributed_cache=SqliteDistributedCache(file.path), invalidation_bus=RedisStreamsInvalidationBus(redis)
    ) as cache:
        yield Member(cache, database)
    await redis.aclose()


@promise(2, fault="L2 away")
@promise(6, fault="L2 away")
@promise(9, fault="L2 away")
def test_without_l2_everybody_is_told_and_what_l2_still_holds_is_never_served(
    halves: Halves, database: Database
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            fleet = [await stack.enter_async_context(halves.member(database)) for _ in range(3)]
            writer = fleet[0]
            await write_all(writer, KEYS)
            # filled before anybody else asks, so that L2 holds every key
            await writer.read_all(KEYS)
            await eventually(lambda: writer.cache.stats().distributed.fills >= len(KEYS))
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            halves.l2_server.kill()
            for key in KEYS:
                assert not (await writer.write(key)).queued
                await fresh_everywhere(database, fleet, [key], monotonic(), within=1.0)
            assert writer.cache.stats().distributed.late_deletes == len(KEYS)
            await asyncio.to_thread(halves.l2_server.start)
            # at once, before the deletes are caught up with: the log alone tells it what L2 must not
            newcomer = await stack.enter_async_context(halves.member(database))
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
