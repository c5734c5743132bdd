"""L2 as the cache uses it: leases, stamps, the breaker, late deletes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, InvalidationBus, JsonSerializer
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.clock import ManualClock
from tests.unit.core.plain_memory import PlainMemory
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store

TTL = CacheOptions(ttl_seconds=60)


class Database:
    """A loader that counts."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value
        self.loads = 0

    async def __call__(self) -> Any:
        self.loads += 1
        await asyncio.sleep(0)
        return self.value


def pair(store: Store, name: str, **arguments: Any) -> tuple[AsyncHybridCache, AsyncHybridCache]:
    one, two = (
        AsyncHybridCache(
            distributed_cache=SharedMemory(store), invalidation_bus=InvalidationBus(lambda: ScriptedLog(name))
        )
        for _ in range(2)
    )
    return one, two


def test_what_one_loads_another_reads() -> None:
    async def scenario() -> None:
        store, database = Store(), Database(None)
        one, two = pair(store, "l2-shared")
        async with one, two:
            assert await one.get_or_set("k", database) is None
            assert await two.get_or_set("k", database) is None
            assert await two.get("k", "missing") is None
            assert database.loads == 1
            assert (one.stats().distributed.fills, two.stats().distributed.hits) == (1, 1)

    asyncio.run(scenario())


def test_a_change_reaches_l2_and_the_other_instance() -> None:
    async def scenario() -> None:
        store, database = Store(), Database(1)
        one, two = pair(store, "l2-change")
        async with one, two:
            await one.get_or_set("k", database)
            await two.get_or_set("k", database)
            database.value = 2
            await one.remove("k")
            assert not store.entries
            await eventually(lambda: two.stats().entries == 0)
            assert await two.get_or_set("k", database) == 2
            await two.set("k", 3)
            await eventually(lambda: one.stats().entries == 0)
            assert await one.get("k") == 3
            assert one.stats().distributed.hits == 1
            for scope in ("default", None):
                await two.clear(scope=scope)
                assert not store.entries
                await eventually(lambda: one.stats().entries == 0)
                await one.set("k", 4)

    asyncio.run(scenario())


def two_of_a_whole_cache(clock: ManualClock) -> list[Any]:
    store = Store(clock)
    return [SharedMemory(store), SharedMemory(store)]


def two_of_a_plain_cache_that_keeps_for_ever(clock: ManualClock) -> list[Any]:
    values: dict[str, object] = {}
    return [PlainMemory(values), PlainMemory(values)]


@pytest.mark.parametrize("two_of", [two_of_a_whole_cache, two_of_a_plain_cache_that_keeps_for_ever])
def test_a_hit_lives_on_in_l1_for_the_time_it_had_left(two_of: Callable[[ManualClock], list[Any]]) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        options = CacheOptions(ttl_seconds=2, fail_safe_seconds=0)
        one, two = (AsyncHybridCache(distributed_cache=l2, clock=clock, options=options) for l2 in two_of(clock))
        async with one, two:
            await one.set("k", 1)
            clock.advance(1.8)
            assert await two.get("k") == 1
            clock.advance(0.19)
            assert await two.get("k") == 1
            clock.advance(0.02)
            assert await two.get("k") is None

    asyncio.run(scenario())


def test_a_load_overtaken_by_a_removal_fills_l2_no_more() -> None:
    async def scenario() -> None:
        store, release = Store(), asyncio.Event()
        one, two = pair(store, "l2-overtaken")

        async def slow() -> str:
            await release.wait()
            return "old"

        async with one, two:
            task = asyncio.create_task(one.get_or_set("k", slow))
            await eventually(lambda: store.leases)
            await two.remove("k")
            release.set()
            assert await task == "old"
            await one.stop()
            assert not store.entries

    asyncio.run(scenario())


def test_an_entry_older_than_its_tombstone_is_a_miss_and_is_deleted() -> None:
    """An L2 delete that a failover of L2 undid."""

    async def scenario() -> None:
        store, database = Store(), Database("new")
        one, two = pair(store, "l2-undone")
        async with one, two:
            await one.set("k", "old")
            undone = dict(store.entries)
            await one.remove("k")
            store.entries.update(undone)
            assert await one.get("k", "missing") == "missing"
            store.entries.update(undone)
            await eventually(lambda: two.stats().tombstones == one.stats().tombstones)
            assert await two.get_or_set("k", database) == "new"
            assert store.entries != undone

    asyncio.run(scenario())


def test_an_entry_of_another_epoch_is_a_miss() -> None:
    async def scenario() -> None:
        store, log = Store(), ScriptedLog("l2-epoch")
        one, two = pair(store, "l2-epoch")
        await log.open()
        async with one, two:
            await one.set("k", "old")
            log.delete()
            await eventually(lambda: one.stats().resets and two.stats().resets)
            assert await two.get("k", "missing") == "missing"

    asyncio.run(scenario())


def test_a_payload_that_does_not_decode_is_a_counted_miss() -> None:
    async def scenario() -> None:
        store, database = Store(), Database()
        async with AsyncHybridCache(distributed_cache=SharedMemory(store)) as one:
            await one.set("k", "pickled")
        async with AsyncHybridCache(distributed_cache=SharedMemory(store, serializer=JsonSerializer())) as other:
            assert await other.get_or_set("k", database) == 1
            assert other.stats().distributed.undecodable == 1

    asyncio.run(scenario())


def test_a_value_that_the_codec_cannot_take_stays_in_l1_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        l2 = SharedMemory(serializer=JsonSerializer())
        async with AsyncHybridCache(distributed_cache=l2) as cache:
            with caplog.at_level(logging.WARNING, "async_hybrid_cache"):
                for number in range(3):
                    await cache.set(str(number), {1, 2})
                    assert await cache.get(str(number)) == {1, 2}
            assert not l2.store.entries
            assert cache.stats().distributed.unencodable == 3
            assert cache.stats().distributed.state == "up"

    asyncio.run(scenario())
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert "Serializer" in messages[0]


def test_zero_keeps_nothing_in_l1_and_still_uses_l2() -> None:
    async def scenario() -> None:
        database = Database()
        l2 = SharedMemory()
        async with AsyncHybridCache(distributed_cache=l2, options=CacheOptions(lru_max_keys=0)) as cache:
            for _ in range(3):
                assert await cache.get_or_set("k", database) == 1
            assert database.loads == 1
            assert cache.stats().entries == 0

    asyncio.run(scenario())


def test_refresh_goes_past_l2_and_fills_it() -> None:
    async def scenario() -> None:
        store = Store()
        version = 1
        one = AsyncHybridCache(distributed_cache=SharedMemory(store))

        @one.cached("k")
        async def load() -> int:
            return version

        async with one, AsyncHybridCache(distributed_cache=SharedMemory(store)) as two:
            assert await load() == 1
            version = 2
            assert await load.refresh_cached() == 2
            await one.stop()
            scope = f"{__name__}.{load.__wrapped__.__qualname__}"
            assert await two.get("k", scope=scope) == 2

    asyncio.run(scenario())
