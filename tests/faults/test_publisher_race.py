"""A local read between the drop from L1 and the delete in L2 must not leave the publisher stale."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, member, stream_of
from tests.faults.member import Member
from tests.faults.places import Place, RedisPlace
from tests.servers.proxy import Proxy

TURNS = 200


@asynccontextmanager
async def publishing(place: Place, database: Database, log_url: str) -> AsyncIterator[Member]:
    """An instance whose deletes in L2 take long enough for reads to find the old value there."""
    broker = find_broker(place.url)
    l2 = broker.distributed_cache(place.url, namespace=place.namespace)
    assert l2 is not None
    delete = l2.delete

    async def delete_late(scope: str, keys: Sequence[str]) -> None:
        await asyncio.sleep(0.004)
        await delete(scope, keys)

    l2.delete = delete_late  # type: ignore[method-assign]
    bus = broker.bus(log_url, namespace=place.namespace, stream=None)
    async with AsyncHybridCache(distributed_cache=l2, invalidation_bus=bus) as cache:
        yield Member(cache, database)


async def race(
    publisher: Member, other: Member, database: Database, rng: random.Random, key: str
) -> list[tuple[str, int, Any]]:
    """Change `key` and remove it at `publisher` while it is read there; what was served too old afterwards."""

    async def read_after(pause: int, instance: Member) -> None:
        for _ in range(pause):
            await asyncio.sleep(0)
        await instance.read(key)

    version = database.write(key)
    reads = [asyncio.create_task(read_after(rng.randrange(12), publisher)) for _ in range(6)]
    reads += [asyncio.create_task(read_after(rng.randrange(12), other)) for _ in range(2)]
    # some of the reads ask L2 before the removal begins, and are answered when it has
    for _ in range(rng.randrange(12)):
        await asyncio.sleep(0)
    await publisher.remove(key)
    served = [("at once", version, await publisher.read(key))]
    await asyncio.gather(*reads)
    served.append(("afterwards", version, await publisher.read(key)))
    return [each for each in served if each[1] != each[2]]


@promise(2, fault="copy from L2 under way")
def test_reads_during_a_remove_never_bring_the_old_value_back(l2_place: Place, database: Database) -> None:
    rng = random.Random(4)

    async def main() -> None:
        async with publishing(l2_place, database, l2_place.url) as publisher, member(l2_place, database) as other:
            database.write("key")
            for turn in range(TURNS):
                # L2 has it, L1 of the publisher every other time
                receipt = await other.cache.set("key", database.read("key"))
                await eventually(lambda at=str(receipt.position): position(publisher) == at)
                if turn % 2:
                    await publisher.read("key")
                assert await race(publisher, other, database, rng, "key") == []
                if turn % 10 == 0:
                    await fresh_everywhere(database, [publisher, other], ["key"], monotonic(), within=1.0)
            assert_raced(publisher)

    asyncio.run(main())


@promise(2, fault="copy from L2 under way")
def test_nor_do_they_while_the_log_is_away(redis_place: RedisPlace, database: Database) -> None:
    rng = random.Random(5)

    async def main() -> None:
        with Proxy(redis_place.url) as proxy:
            async with (
                publishing(redis_place, database, proxy.url) as publisher,
                member(redis_place, database) as other,
            ):
                proxy.cut()
                keys = [f"key-{turn}" for turn in range(TURNS)]
                for key in keys:
                    # one that waits for the log already would not be looked for in L2
                    await other.cache.set(key, database.write(key))
                    assert await race(publisher, other, database, rng, key) == []
                assert_raced(publisher)
                proxy.heal()
                await fresh_everywhere(database, [publisher, other], keys, monotonic())

    asyncio.run(main())


def assert_raced(publisher: Member) -> None:
    """Old values were on their way from L2 to L1 when their keys were removed, and were refused there."""
    assert publisher.cache.stats().fills_fenced > TURNS / 10


def position(instance: Member) -> str:
    return stream_of(instance.cache.stats()).position
