"""Start, stop, and the loops and moments in between."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheClosed,
    CacheError,
    InvalidationBus,
    LogUnavailable,
    StreamOptions,
)
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.memory import MemoryInvalidationBus, MemoryLog
from tests.unit.core.clock import ManualClock
from tests.unit.core.scripted_log import ScriptedLog


def quick(**options: Any) -> StreamOptions:
    return StreamOptions(retry_max_seconds=0.05, call_timeout_seconds=0.2, append_timeout_seconds=0.3, **options)


async def load() -> int:
    return 1


def test_before_start_it_serves_from_l1_and_the_loader() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(invalidation_bus=InvalidationBus(MemoryLog))
        assert await cache.get_or_set("k", load) == 1
        assert await cache.get("k") == 1
        receipt = await cache.set("k", 2)
        assert receipt.position is None
        assert cache.health().status == "degraded"
        await cache.start()
        # kept blindly, so dropped when the stream attaches
        assert await cache.get("k") is None
        assert cache.health().status == "ok"
        await cache.stop()

    asyncio.run(scenario())


def test_changes_made_before_start_are_announced_after_it() -> None:
    async def scenario() -> None:
        log = MemoryLog("before-start")
        early = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: log))
        async with AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: MemoryLog("before-start"))) as other:
            await other.set("k", 1)
            assert (await early.remove("k")).queued
            assert await other.get("k") == 1
            async with early:
                await eventually(lambda: other.stats().entries == 0)

    asyncio.run(scenario())


def test_starting_and_stopping_twice_does_nothing() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("twice"), clock=ManualClock())
        await cache.stop()
        await cache.start()
        origin = cache.stats().stream
        await cache.start()
        assert cache.stats().stream == origin
        await cache.stop()
        await cache.stop()
        assert cache.health().status == "stopped"

    asyncio.run(scenario())


def test_a_stopped_cache_says_so_and_can_be_started_again() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("again"))

        @cache.cached("k")
        async def cached() -> int:
            return 1

        for _ in range(3):
            async with cache:
                assert await cached() == 1
                assert (await cache.remove("x")).position is not None
            calls: list[Any] = [cached(), cache.get("k"), cache.get_or_set("k", load), cache.set("k", 1)]
            calls += [cache.remove("k"), cache.clear(), cached.remove_cached(), cached.refresh_cached()]
            for call in calls:
                with pytest.raises(CacheClosed, match=r"call start\(\)"):
                    await call

    asyncio.run(scenario())


def test_a_cache_without_a_bus_works_in_one_loop_after_another() -> None:
    cache = AsyncHybridCache()
    for number in range(3):
        assert asyncio.run(cache.get_or_set(str(number), load)) == 1
    assert asyncio.run(cache.get("0")) == 1


def test_a_load_left_behind_by_a_loop_that_ended_is_begun_again() -> None:
    cache = AsyncHybridCache()

    async def hang() -> int:
        await asyncio.sleep(3600)
        return 0

    async def abandon() -> None:
        task = asyncio.create_task(cache.get_or_set("k", hang))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(abandon())
    assert asyncio.run(asyncio.wait_for(cache.get_or_set("k", load), 2)) == 1


def test_a_second_loop_after_a_stop() -> None:
    cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("second-loop"))

    async def session() -> None:
        async with cache:
            assert (await cache.set("k", 1)).position is not None
            assert await cache.get("k") == 1

    for _ in range(3):
        asyncio.run(session())


def test_a_second_loop_after_one_that_ended_without_a_stop() -> None:
    cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("abandoned"))

    async def abandon() -> None:
        await cache.start()
        await cache.set("k", 1)

    async def use() -> None:
        with pytest.raises(CacheClosed, match=r"ended without stop\(\); call start\(\)"):
            await cache.get("k")
        await cache.stop()
        async with cache:
            assert await cache.get("k") is None
            assert (await cache.set("k", 2)).position is not None
            assert await cache.get("k") == 2
            assert cache.health().status == "ok"

    for _ in range(3):
        asyncio.run(abandon())
        asyncio.run(use())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_second_loop_after_one_that_was_closed_under_everything() -> None:
    cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("closed-under"))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(cache.start())
    loop.close()

    async def use() -> None:
        with pytest.raises(CacheClosed, match=r"call start\(\)"):
            await cache.get("k")
        async with cache:
            assert (await cache.set("k", 2)).position is not None
            assert await cache.get("k") == 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        asyncio.run(use())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stopping_in_a_second_loop_does_nothing() -> None:
    cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("stop-elsewhere"))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(cache.start())
    loop.close()
    asyncio.run(cache.stop())
    asyncio.run(cache.start())


def test_use_in_another_loop_while_the_first_still_runs_is_refused() -> None:
    async def scenario() -> None:
        async with AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("two-loops")) as cache:

            async def elsewhere() -> None:
                with pytest.raises(CacheClosed, match="another event loop, which is still running"):
                    await cache.get("missing")
                with pytest.raises(CacheClosed, match="another event loop"):
                    await cache.start()

            await asyncio.to_thread(asyncio.run, elsewhere())
            await cache.set("k", 1)
            assert await cache.get("k") == 1

    asyncio.run(scenario())


def test_start_with_a_log_away_returns_and_tries_on() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        log.away = True
        cache = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: log, quick()))
        loop = asyncio.get_running_loop()
        started = loop.time()
        await cache.start()
        assert loop.time() - started < 1
        assert cache.health().status == "degraded"
        assert any("log is away" in reason for reason in cache.health().reasons)
        assert await cache.get_or_set("k", load) == 1
        receipt = await cache.remove("other")
        assert (receipt.position, receipt.queued) == (None, True)
        log.away = False
        await eventually(lambda: cache.health().status == "ok")
        stats = cache.stats().stream
        assert stats is not None
        await eventually(lambda: cache.stats().stream.outbox == 0)  # type: ignore[union-attr]
        assert (await cache.remove("other")).position is not None
        await cache.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["away", "frozen"])
def test_require_bus_raises_and_leaves_nothing_running(fault: str) -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        setattr(log, fault, True)
        cache = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: log, quick()), require_bus=True)
        with pytest.raises(LogUnavailable, match="require_bus"):
            await cache.start()
        await eventually(lambda: len(asyncio.all_tasks()) == 1)
        setattr(log, fault, False)
        async with cache:
            assert cache.health().status == "ok"

    asyncio.run(scenario())


def test_stop_is_bounded_in_time_with_a_frozen_log() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        cache = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: log))
        await cache.start()
        log.frozen = True
        task = asyncio.create_task(cache.remove("k"))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await cache.stop()
        assert loop.time() - started < 5
        assert (await task).queued
        await eventually(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(scenario())


def test_stop_waits_a_little_for_loads_and_then_ends_them() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        await cache.start()

        async def hang() -> int:
            await asyncio.sleep(3600)
            return 0

        async def short() -> int:
            await asyncio.sleep(0.05)
            return 5

        hanging = asyncio.create_task(cache.get_or_set("hang", hang))
        quick_one = asyncio.create_task(cache.get_or_set("short", short))
        await eventually(lambda: cache.stats().loads == 2)
        await cache.stop()
        assert await quick_one == 5
        with pytest.raises(CacheError, match="cancelled"):
            await hanging
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scenario())


def test_a_start_that_is_cancelled_leaves_nothing_running() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        log.frozen = True
        cache = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: log, StreamOptions(call_timeout_seconds=30)))
        task = asyncio.create_task(cache.start())
        await eventually(lambda: log.opened)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(scenario())


def test_building_and_importing_start_nothing() -> None:
    """theine: `import` starts a thread."""
    import threading

    before = threading.active_count()
    cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("idle"))

    @cache.cached
    async def cached(number: int) -> int:
        return number

    assert threading.active_count() == before
