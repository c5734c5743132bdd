"""Changes that meet each other, a frozen server, or the end of the cache."""

from __future__ import annotations

import asyncio

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    InvalidationBus,
    LoaderTimeout,
    StreamOptions,
)
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.memory_checkpoints import MemoryCheckpoints
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store


def cache_on(name: str, l2: SharedMemory | None = None) -> tuple[AsyncHybridCache, ScriptedLog]:
    log = ScriptedLog(name)
    return AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: log), distributed_cache=l2), log


def test_a_removal_announced_in_the_same_frame_as_a_set_wins() -> None:
    async def scenario() -> None:
        cache, _ = cache_on("same-frame")
        async with cache:
            receipts = await asyncio.gather(cache.set("k", "old"), cache.remove("k"))
            assert receipts[0].position == receipts[1].position
            assert await cache.get("k") is None

    asyncio.run(scenario())


def test_a_set_that_could_only_be_queued_does_not_undo_a_later_removal() -> None:
    async def scenario() -> None:
        cache, log = cache_on("queued-set")
        async with cache:
            log.frozen = True
            setting = asyncio.ensure_future(cache.set("k", "old"))
            await asyncio.sleep(0)
            assert (await cache.remove("k")).queued
            assert (await setting).queued
            assert await cache.get("k") is None
            log.frozen = False

    asyncio.run(scenario())


def test_a_frozen_l2_is_tried_once_by_removals_in_many_scopes() -> None:
    async def scenario() -> None:
        l2 = SharedMemory()
        async with AsyncHybridCache(distributed_cache=l2) as cache:
            l2.frozen.add("delete")
            l2.calls.clear()
            await asyncio.gather(*(cache.remove("k", scope=f"scope {number}") for number in range(12)))
            assert l2.calls.count("delete") == 1
            assert cache.stats().distributed.late_deletes == 12
            l2.frozen.clear()

    asyncio.run(scenario())


def test_a_removal_under_way_at_stop_is_still_announced() -> None:
    async def scenario() -> None:
        l2 = SharedMemory(Store())
        one, _ = cache_on("stop-while-removing", l2)
        two, _ = cache_on("stop-while-removing")
        async with two:
            await one.start()
            await two.set("k", "old")
            await eventually(lambda: one.stats().stream.position == two.stats().stream.position)
            held = asyncio.Event()
            l2.before["delete"] = held.wait
            removal = asyncio.ensure_future(one.remove("k"))
            await eventually(lambda: "delete" in l2.calls)
            stopping = asyncio.ensure_future(one.stop())
            await asyncio.sleep(0)
            held.set()
            await asyncio.gather(removal, stopping)
            await eventually(lambda: two.stats().entries == 0)

    asyncio.run(scenario())


def test_deletes_that_failed_are_done_at_stop() -> None:
    async def scenario() -> None:
        store = Store()
        l2 = SharedMemory(store)
        cache, _ = cache_on("late-at-stop", l2)
        async with cache:
            await cache.set("k", "old")
            await eventually(lambda: store.entries)
            l2.failing.add("delete")
            await cache.remove("k")
            assert store.entries
            l2.failing.clear()
            await eventually(lambda: cache.stats().distributed.state == "up")
        assert not store.entries

    asyncio.run(scenario())


def test_a_stop_that_nobody_waits_for_goes_on_to_its_end() -> None:
    async def scenario() -> None:
        cache, log = cache_on("cancelled-stop")
        await cache.start()
        log.frozen = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cache.stop(), 0.01)
        log.frozen = False
        await cache.start()
        running = [task for task in asyncio.all_tasks() if task.get_name() == "async-hybrid-cache reader"]
        assert len(running) == 1
        assert not (await cache.remove("k")).queued
        await cache.stop()

    asyncio.run(scenario())


def test_a_second_start_returns_no_earlier_than_the_first() -> None:
    async def scenario() -> None:
        cache, _ = cache_on("two-starts")
        first = asyncio.ensure_future(cache.start())
        await asyncio.sleep(0)
        await cache.start()
        assert first.done()
        assert cache.stats().stream.attached
        await cache.stop()

    asyncio.run(scenario())


def test_a_loader_that_swallows_its_cancellation_keeps_nobody() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(hard_timeout_seconds=0.02))
        released = asyncio.Event()

        async def stubborn() -> str:
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue
            return "too late"

        async def healthy() -> str:
            return "fresh"

        for _ in range(2):
            with pytest.raises(LoaderTimeout):
                await cache.get_or_set("k", stubborn)
        assert await cache.get_or_set("k", healthy) == "fresh"
        released.set()
        await asyncio.sleep(0)
        assert await cache.get("k") == "fresh"

    asyncio.run(scenario())


def test_a_failed_load_that_gives_its_lease_back_is_over() -> None:
    async def scenario() -> None:
        l2 = SharedMemory()
        async with AsyncHybridCache(distributed_cache=l2) as cache:
            held = asyncio.Event()
            l2.before["release"] = held.wait

            async def failing() -> str:
                raise ConnectionError

            async def healthy() -> str:
                return "fresh"

            with pytest.raises(ConnectionError):
                await cache.get_or_set("k", failing)
            assert await cache.get_or_set("k", healthy) == "fresh"
            held.set()

    asyncio.run(scenario())


def test_a_restart_from_a_checkpoint_still_knows_what_was_removed_before_it() -> None:
    async def scenario() -> None:
        store, kept = Store(), MemoryCheckpoints()
        publisher_l2 = SharedMemory(store)
        publisher, _ = cache_on("relearn", publisher_l2)

        def restarted() -> AsyncHybridCache:
            stream = StreamOptions(instance_id="reader", checkpoints=kept)
            bus = InvalidationBus(lambda: ScriptedLog("relearn"), stream)
            return AsyncHybridCache(invalidation_bus=bus, distributed_cache=SharedMemory(store))

        async with publisher:
            await publisher.set("k", "old")
            publisher_l2.failing.add("*")  # the delete fails, and nobody will ever do it
            await publisher.remove("k")
            async with restarted() as reader:
                await eventually(lambda: reader.stats().stream.position == publisher.stats().stream.position)
            assert store.entries
            assert "stream/reader/0" in kept.names
            async with restarted() as reader:
                assert await reader.get("k") is None

    asyncio.run(scenario())
