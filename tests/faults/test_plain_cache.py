"""An L2 without leases, between instances: a fill that a removal overtook does not stay."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

from redis.asyncio import Redis

from async_hybrid_cache import AsyncHybridCache, StreamOptions
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere
from tests.faults.gated import gated
from tests.faults.held import HeldLoad
from tests.faults.member import Member
from tests.faults.places import Place
from tests.faults.plain import PLAIN
from tests.faults.process import Process
from tests.plain_redis import PlainRedis
from tests.servers.server import Server

KEYS = [f"key-{number}" for number in range(4)]


@asynccontextmanager
async def plain_member(
    place: Place, database: Database, plain: PlainRedis, replay_records: int = 10_000
) -> AsyncIterator[Member]:
    bus = find_broker(place.url).bus(
        place.url, namespace=place.namespace, stream=StreamOptions(replay_records=replay_records)
    )
    async with AsyncHybridCache(distributed_cache=plain, invalidation_bus=bus) as cache:
        yield Member(cache, database)


def test_a_fill_by_one_who_had_not_heard_is_deleted_and_announced_once_it_has(
    place: Place, valkey: Server, database: Database
) -> None:
    async def main() -> None:
        async with Redis.from_url(valkey.url) as redis:
            plain = PlainRedis(redis, f"{uuid.uuid4()}:")
            async with (
                plain_member(place, database, plain) as writer,
                gated(place, distributed_cache=plain) as (cache, gate),
            ):
                load = HeldLoad(database, "key")
                database.write("key")
                caller = asyncio.create_task(cache.get_or_set("key", load))
                await load.begun.wait()
                gate.hold()
                await writer.write("key")
                load.go_on.set()
                assert await caller == 1
                await eventually(lambda: cache.stats().distributed.fills == 1)
                # whoever heard refuses what is stored now; this one started too late to hear
                async with plain_member(place, database, plain, replay_records=0) as late:
                    assert await late.read("key") == 1
                    gate.release()
                    await fresh_everywhere(database, [writer, late, Member(cache, database)], ["key"], monotonic())
                # by whoever is the first to look: who stored it, or the writer who reads
                found = (each.stats().distributed.fills_overtaken for each in (cache, writer.cache))
                assert sum(found) >= 1

    asyncio.run(main())


def test_processes_that_fill_what_others_remove_leave_nothing_stale(valkey: Server, database: Database) -> None:
    async def main() -> None:
        async with Redis.from_url(valkey.url) as redis, AsyncExitStack() as stack:
            place = f"{PLAIN}{valkey.url}", f"test-{uuid.uuid4().hex[:12]}"
            processes = [await stack.enter_async_context(Process(database, *place)) for _ in range(3)]
            writer, *readers = processes
            for reader in readers:
                await reader.browse(KEYS)
            await writer.write_on("written", KEYS, 0.001)

            async def frozen_and_overtaken() -> bool:
                for reader in readers:
                    # what it was about to store is old when it goes on
                    await reader.stop()
                    await asyncio.sleep(0.2)
                    reader.cont()
                stats = [(await reader.stats()).distributed for reader in readers]
                return all(each.fills > 10 for each in stats) and sum(each.fills_overtaken for each in stats) > 1

            await eventually(frozen_and_overtaken, timeout=40, poll_seconds=0.2, message="nothing was overtaken")
            for reader in readers:
                assert (await reader.rest()).errors == []
            written = await writer.written()
            assert all(each.error is None for each in written)

            async def nothing_stale_in_l2() -> bool:
                async with plain_newcomer(redis, *place) as newcomer:
                    return all([await newcomer.get(key) in (None, database.read(key)) for key in KEYS])

            # before anybody who has heard of the removals reads, and so deletes what is older
            await eventually(nothing_stale_in_l2, poll_seconds=0.2)
            await fresh_everywhere(database, processes, KEYS, monotonic())

    @asynccontextmanager
    async def plain_newcomer(redis: Redis, url: str, namespace: str) -> AsyncIterator[AsyncHybridCache]:
        """One that knows of no event, and so believes whatever L2 says."""
        url = url.removeprefix(PLAIN)
        bus = find_broker(url).bus(url, namespace=namespace, stream=StreamOptions(replay_records=0))
        async with AsyncHybridCache(
            distributed_cache=PlainRedis(redis, f"{namespace}:"), invalidation_bus=bus
        ) as newcomer:
            yield newcomer

    asyncio.run(main())
