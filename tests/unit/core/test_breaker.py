"""L2 in bad order: what it costs a caller, and the deletes that it owes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, InvalidationBus
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import KeysRemoved
from async_hybrid_cache_codecs.frames import open_frame
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store


class Database:
    """A loader that counts."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value
        self.loads = 0

    async def __call__(self) -> Any:
        self.loads += 1
        await asyncio.sleep(0)
        return self.value


def test_a_frozen_l2_costs_one_timeout_and_then_nothing() -> None:
    async def scenario() -> None:
        l2, database = SharedMemory(), Database()
        cache = AsyncHybridCache(distributed_cache=l2, distributed_timeout_seconds=0.1)
        async with cache:
            l2.frozen = {"*"}
            loop = asyncio.get_running_loop()
            started = loop.time()
            assert await asyncio.gather(*[cache.get_or_set(str(n), database) for n in range(50)]) == [1] * 50
            assert 0.09 < loop.time() - started < 0.3
            started = loop.time()
            for number in range(50):
                assert await cache.get_or_set(f"later {number}", database) == 1
            await cache.remove("later 1")
            assert loop.time() - started < 0.08
            stats = cache.stats().distributed
            assert (stats.state, stats.breaker_opened) == ("down", 1)
            assert cache.health().status == "degraded"
            l2.frozen = set()
            await eventually(lambda: cache.stats().distributed.state == "up")
            await cache.set("k", 5)
            assert await cache.get("k") == 5
            assert cache.health().status == "ok"

    asyncio.run(scenario())


def test_the_default_timeout_is_half_a_second() -> None:
    async def scenario() -> None:
        l2, database = SharedMemory(), Database()
        async with AsyncHybridCache(distributed_cache=l2) as cache:
            l2.frozen = {"get"}
            loop = asyncio.get_running_loop()
            started = loop.time()
            await cache.get_or_set("k", database)
            assert 0.45 < loop.time() - started < 0.9

    asyncio.run(scenario())


def test_an_l2_that_is_away_at_start_opens_the_breaker_and_raises_nothing() -> None:
    async def scenario() -> None:
        l2, database = SharedMemory(), Database()
        l2.failing = {"*"}
        async with AsyncHybridCache(distributed_cache=l2) as cache:
            assert await cache.get_or_set("k", database) == 1
            assert await cache.get("missing") is None
            await cache.set("k", 2)
            await cache.remove("k")
            await cache.clear()
            assert cache.stats().distributed.state == "down"

    asyncio.run(scenario())


def test_a_failed_write_keeps_the_value() -> None:
    async def scenario() -> None:
        l2, database = SharedMemory(), Database()
        async with AsyncHybridCache(distributed_cache=l2) as cache:
            l2.failing = {"fill"}
            assert await cache.get_or_set("k", database) == 1
            assert await cache.get_or_set("k", database) == 1
            assert database.loads == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("call", ["get", "fill"])
def test_a_driver_that_raises_what_it_should_not_breaks_no_read(call: str) -> None:
    async def scenario() -> None:
        l2, database = SharedMemory(), Database()

        async def surprise() -> None:
            raise KeyError("driver bug")

        async with AsyncHybridCache(distributed_cache=l2) as cache:
            l2.before[call] = surprise
            assert await cache.get_or_set("k", database) == 1

    asyncio.run(scenario())


def test_a_late_delete_bypasses_l2_and_is_followed_by_a_new_event() -> None:
    async def scenario() -> None:
        store, database = Store(), Database("new")
        log = ScriptedLog("l2-late")
        l2 = SharedMemory(store)
        one = AsyncHybridCache(distributed_cache=l2, invalidation_bus=InvalidationBus(lambda: log))
        two = AsyncHybridCache(
            distributed_cache=SharedMemory(store), invalidation_bus=InvalidationBus(lambda: ScriptedLog("l2-late"))
        )

        def told() -> int:
            frames = [open_frame(record.data) for record in log.records()]
            return sum(event == KeysRemoved("default", ("k",)) for frame in frames for event in frame.events)

        async with one, two:
            await one.set("k", "old")
            l2.failing = {"delete", "open"}
            before = told()
            assert (await one.remove("k")).position is not None
            assert told() == before + 1
            assert ("default", "k") in store.entries
            assert one.stats().distributed.late_deletes == 1
            # what is still in L2 is not read, neither here nor where the event has arrived
            assert await one.get_or_set("k", database) == "new"
            l2.failing = set()
            await eventually(lambda: not one.stats().distributed.late_deletes)
            await eventually(lambda: told() == before + 2)
            assert store.entries.get(("default", "k")) is None or await two.get("k") == "new"
            assert await two.get_or_set("k", database) == "new"

    asyncio.run(scenario())


def test_a_cancelled_change_is_still_told_to_the_others() -> None:
    async def scenario() -> None:
        store, database = Store(), Database("new")
        l2 = SharedMemory(store)
        one = AsyncHybridCache(distributed_cache=l2, invalidation_bus=InvalidationBus(lambda: ScriptedLog("l2-cancel")))
        two = AsyncHybridCache(
            distributed_cache=SharedMemory(store), invalidation_bus=InvalidationBus(lambda: ScriptedLog("l2-cancel"))
        )
        async with one, two:
            await two.set("k", "old")
            l2.frozen = {"delete"}
            task = asyncio.create_task(one.remove("k"))
            await eventually(lambda: "delete" in l2.calls)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually(lambda: two.stats().entries == 0)
            l2.frozen = set()
            await eventually(lambda: not one.stats().distributed.late_deletes)
            assert await two.get_or_set("k", database) == "new"

    asyncio.run(scenario())
