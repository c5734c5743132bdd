"""L2 between instances: what is found there, for how long, and what a clear leaves."""

from __future__ import annotations

import asyncio
import uuid
from time import monotonic

from redis.asyncio import Redis

from async_hybrid_cache import CacheOptions
from async_hybrid_cache.distributed import DistributedCache, Miss
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, member, members, stream_of
from tests.faults.places import Place, RedisPlace
from tests.faults.process import Process
from tests.servers.server import Server


def l2_of(place: Place) -> DistributedCache:
    l2 = find_broker(place.url).distributed_cache(place.url, namespace=place.namespace)
    assert l2 is not None
    return l2


def test_none_is_a_hit_in_another_process(l2_place: Place, database: Database) -> None:
    async def main() -> None:
        async with (
            Process(database, l2_place.url, l2_place.namespace) as one,
            Process(database, l2_place.url, l2_place.namespace) as other,
        ):

            async def filled() -> bool:
                return (await one.stats()).distributed.fills == 1

            assert await one.read_all(["missing"]) == [None]
            await eventually(filled)
            assert await other.read_all(["missing"]) == [None]
            stats = await other.stats()
            assert (stats.loads, stats.distributed.hits) == (0, 1)
            await one.write("missing")
            await fresh_everywhere(database, [one, other], ["missing"], monotonic())

    asyncio.run(main())


def test_a_copy_from_l2_lives_for_the_time_that_was_left(l2_place: Place, database: Database) -> None:
    async def main() -> None:
        loads = 0

        async def load() -> int:
            nonlocal loads
            loads += 1
            return loads

        async with members(l2_place, database, 2) as (one, other):
            options = CacheOptions(ttl_seconds=1.5)
            assert await one.cache.get_or_set("key", load, options=options) == 1
            loaded = monotonic()
            await asyncio.sleep(0.9)
            assert await other.cache.get_or_set("key", load, options=options) == 1
            assert other.cache.stats().distributed.hits == 1

            async def gone() -> bool:
                return await other.cache.get("key") is None

            await eventually(gone, timeout=2.0)
            assert 1.3 < monotonic() - loaded < 1.8
            assert await other.cache.get_or_set("key", load, options=options) == 2

    asyncio.run(main())


def test_clear_clears_l2_of_one_scope_or_of_all(l2_place: Place, database: Database) -> None:
    async def value() -> str:
        return "old"

    async def main() -> None:
        async with members(l2_place, database, 2) as (one, other):

            async def held() -> list[str]:
                """The scopes whose entry L2 has, seen by one who has nothing in L1."""
                await other.cache.clear_memory()
                return [s for s in ("a", "ab", "default") if await other.cache.get("key", scope=s) is not None]

            for scope in ("a", "ab", "default"):
                await one.cache.get_or_set("key", value, scope=scope)
            await eventually(lambda: one.cache.stats().distributed.fills == 3)
            assert await held() == ["a", "ab", "default"]
            await one.cache.clear(scope="a")
            assert await held() == ["ab", "default"]
            await one.cache.clear()
            assert await held() == []

    asyncio.run(main())


def test_clear_leaves_the_keys_of_others(valkey: Server, database: Database) -> None:
    async def main() -> None:
        place = RedisPlace(valkey.url, f"test-{uuid.uuid4().hex[:12]}")
        neighbour = RedisPlace(valkey.url, f"{place.namespace}2")
        foreign = {f"{place.namespace}2:default:foreign": "a", place.namespace: "b", f"my-{place.namespace}:x": "c"}
        async with (
            Redis.from_url(place.url, decode_responses=True) as redis,
            member(place, database) as one,
            member(neighbour, database) as next_door,
        ):
            await redis.mset(foreign)
            for each in (one, next_door):
                await each.read("key")
                await eventually(lambda each=each: each.cache.stats().distributed.fills == 1)
                await each.cache.clear_memory()
            await one.cache.clear()
            assert await redis.mget(*foreign) == list(foreign.values())
            await next_door.read("key")
            assert next_door.cache.stats().distributed.hits == 1
            await one.read("key")
            assert one.cache.stats().distributed.hits == 0

    asyncio.run(main())


@promise(9, fault="value in L2 that is no value")
def test_a_value_that_does_not_decode_is_a_counted_miss(l2_place: Place, database: Database) -> None:
    async def main() -> None:
        async with members(l2_place, database, 2) as (one, other):
            await one.write("key")
            await one.read("key")
            await eventually(lambda: one.cache.stats().distributed.fills == 1)
            l2 = l2_of(l2_place)
            await l2.open()
            token = await l2.lease("default", "key", lease_seconds=10)
            stamp = Position.parse(stream_of(one.cache.stats()).position)
            assert await l2.fill("default", "key", b"\xc1 no envelope", stamp=stamp, ttl=60, token=token)
            assert not isinstance(await l2.get("default", "key", oldest=ORIGIN, lease_seconds=0), Miss)
            assert await other.read("key") == 1
            stats = other.cache.stats()
            assert (stats.distributed.undecodable, stats.distributed.misses, stats.loads) == (1, 1, 1)
            await l2.close()

    asyncio.run(main())
