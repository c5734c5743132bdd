"""Stale values: when they stand in for a loader, for how long, and when never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, LoaderTimeout
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.clock import ManualClock


class Source:
    """A loader whose next answers the test chooses: a value, an error, or None for hanging."""

    def __init__(self) -> None:
        self.answer: Any = 1
        self.calls = 0
        self.hang = False

    async def __call__(self) -> Any:
        self.calls += 1
        await asyncio.sleep(3600 if self.hang else 0)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class World:
    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        options = {"ttl_seconds": 10, "fail_safe_seconds": 100, "fail_safe_throttle_seconds": 2, **options}
        self.cache = AsyncHybridCache(clock=self.clock, options=CacheOptions(**options))
        self.source = Source()

    async def read(self) -> Any:
        return await self.cache.get_or_set("k", self.source)


class Answer(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


def test_an_error_is_answered_with_the_stale_value_until_fail_safe_ends() -> None:
    async def scenario() -> None:
        world = World()
        assert await world.read() == 1
        world.source.answer = OSError("down")
        world.clock.advance(10)
        assert await world.read() == 1
        world.clock.advance(99.9)
        assert await world.read() == 1
        world.clock.advance(0.1)
        with pytest.raises(OSError, match="down"):
            await world.read()
        stats = world.cache.stats()
        assert (stats.load_errors, stats.stale_served) == (3, 2)

    asyncio.run(scenario())


def test_a_failing_loader_is_not_tried_on_every_call() -> None:
    async def scenario() -> None:
        world = World()
        await world.read()
        world.source.answer, world.source.calls = OSError("down"), 0
        world.clock.advance(10)
        for _ in range(100):
            assert await world.read() == 1
        assert world.source.calls == 1
        world.clock.advance(2)
        for _ in range(100):
            assert await world.read() == 1
        assert world.source.calls == 2
        world.source.answer = 2
        world.clock.advance(2)
        assert await world.read() == 2

    asyncio.run(scenario())


def test_throttling_never_outlives_fail_safe() -> None:
    async def scenario() -> None:
        world = World(fail_safe_seconds=5, fail_safe_throttle_seconds=60)
        await world.read()
        world.source.answer = OSError("down")
        world.clock.advance(14)
        assert await world.read() == 1
        world.clock.advance(1)
        with pytest.raises(OSError, match="down"):
            await world.read()

    asyncio.run(scenario())


def test_without_fail_safe_the_error_goes_to_the_caller() -> None:
    async def scenario() -> None:
        world = World(fail_safe_seconds=0)
        await world.read()
        world.source.answer = OSError("down")
        world.clock.advance(10)
        with pytest.raises(OSError, match="down"):
            await world.read()
        assert world.cache.stats().entries <= 1

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [404, 403, 410])
def test_an_answer_goes_to_the_caller_and_drops_the_entry(status: int) -> None:
    async def scenario() -> None:
        world = World()
        await world.read()
        world.clock.advance(10)
        world.source.answer = Answer(status)
        for _ in range(2):
            with pytest.raises(Answer):
                await world.read()
        assert world.cache.stats().entries == 0
        # an outage that follows finds nothing to hide behind: the user is gone
        world.source.answer = OSError("down")
        with pytest.raises(OSError, match="down"):
            await world.read()
        assert world.cache.stats().load_errors == 1

    asyncio.run(scenario())


def test_an_answer_to_a_fenced_load_drops_nothing_newer() -> None:
    async def scenario() -> None:
        world = World()
        world.source.answer = Answer(404)
        task = asyncio.create_task(world.read())
        await eventually(lambda: world.source.calls)
        await world.cache.set("k", "newer")
        with pytest.raises(Answer):
            await task
        assert await world.cache.get("k") == "newer"

    asyncio.run(scenario())


def test_a_server_error_is_an_outage() -> None:
    async def scenario() -> None:
        world = World()
        await world.read()
        world.clock.advance(10)
        world.source.answer = Answer(503)
        assert await world.read() == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("rule", "error", "stale"),
    [
        (lambda error: isinstance(error, OSError), OSError("down"), True),
        (lambda error: isinstance(error, OSError), ValueError("bug"), False),
        (lambda error: True, Answer(404), True),
        (lambda error: False, OSError("down"), False),
    ],
)
def test_fail_safe_on_changes_the_rule(rule: Callable[[BaseException], bool], error: Exception, stale: bool) -> None:
    async def scenario() -> None:
        world = World(fail_safe_on=rule)
        await world.read()
        world.clock.advance(10)
        world.source.answer = error
        if stale:
            assert await world.read() == 1
        else:
            with pytest.raises(type(error)):
                await world.read()

    asyncio.run(scenario())


def test_a_rule_that_raises_leaves_nobody_waiting() -> None:
    async def scenario() -> None:
        def broken(error: BaseException) -> bool:
            raise KeyError("rule")

        world = World(fail_safe_on=broken)
        world.source.answer = OSError("down")
        async with asyncio.timeout(2):
            results = await asyncio.gather(*[world.read() for _ in range(3)], return_exceptions=True)
        assert [type(result) for result in results] == [OSError] * 3

    asyncio.run(scenario())


def test_a_removed_value_never_stands_in() -> None:
    async def scenario() -> None:
        world = World()
        await world.read()
        await world.cache.remove("k")
        world.source.answer = OSError("down")
        with pytest.raises(OSError, match="down"):
            await world.read()

    asyncio.run(scenario())


def test_get_returns_no_stale_value() -> None:
    async def scenario() -> None:
        world = World()
        await world.read()
        world.clock.advance(10)
        assert await world.cache.get("k", "missing") == "missing"

    asyncio.run(scenario())


def test_twenty_callers_of_a_hanging_loader_wait_one_timeout_in_parallel() -> None:
    async def scenario() -> None:
        world = World(hard_timeout_seconds=0.1)
        world.source.hang = True
        loop = asyncio.get_running_loop()
        started = loop.time()
        results = await asyncio.gather(*[world.read() for _ in range(20)], return_exceptions=True)
        assert loop.time() - started < 0.3
        assert all(isinstance(result, LoaderTimeout) for result in results)
        assert isinstance(results[0], TimeoutError)
        assert world.source.calls == 1
        assert world.cache.stats().load_timeouts == 1
        await eventually(lambda: not world.cache.scope_state("default").loads)

    asyncio.run(scenario())


def test_a_timeout_is_answered_with_the_stale_value_and_throttled() -> None:
    async def scenario() -> None:
        world = World(hard_timeout_seconds=0.05)
        await world.read()
        world.clock.advance(10)
        world.source.hang = True
        loop = asyncio.get_running_loop()
        assert await asyncio.gather(*[world.read() for _ in range(20)]) == [1] * 20
        started = loop.time()
        for _ in range(20):
            assert await world.read() == 1
        assert loop.time() - started < 0.04
        assert world.source.calls == 2
        # past the throttle, with the old load still hanging, nobody waits either
        world.clock.advance(2)
        started = loop.time()
        assert await world.read() == 1
        assert loop.time() - started < 0.04

    asyncio.run(scenario())


def test_an_overdue_load_that_ends_fills_the_cache() -> None:
    async def scenario() -> None:
        world = World(hard_timeout_seconds=0.05)
        release = asyncio.Event()

        async def slow() -> str:
            await release.wait()
            return "late"

        with pytest.raises(LoaderTimeout, match=r"'k'.*0\.05 s"):
            await world.cache.get_or_set("k", slow)
        waiting = asyncio.create_task(world.cache.get_or_set("k", slow))
        await asyncio.sleep(0)
        release.set()
        assert await waiting == "late"
        assert await world.cache.get("k") == "late"
        assert world.cache.stats().loads == 1

    asyncio.run(scenario())


def test_an_overdue_load_is_cancelled_in_the_end() -> None:
    async def scenario() -> None:
        world = World(hard_timeout_seconds=0.03)
        ended = asyncio.Event()

        async def hanging() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        with pytest.raises(LoaderTimeout):
            await world.cache.get_or_set("k", hanging)
        assert not ended.is_set()
        await asyncio.wait_for(ended.wait(), 2)
        await eventually(lambda: not world.cache.scope_state("default").loads)

    asyncio.run(scenario())


def test_an_overdue_load_that_was_overtaken_fills_nothing() -> None:
    async def scenario() -> None:
        world = World(hard_timeout_seconds=0.05)
        release = asyncio.Event()

        async def slow() -> str:
            await release.wait()
            return "old"

        with pytest.raises(LoaderTimeout):
            await world.cache.get_or_set("k", slow)
        await world.cache.remove("k")
        release.set()
        await eventually(lambda: world.cache.stats().fills_fenced == 1)
        assert await world.cache.get("k") is None

    asyncio.run(scenario())


def test_none_waits_for_ever() -> None:
    async def scenario() -> None:
        world = World(hard_timeout_seconds=None)

        async def slow() -> int:
            await asyncio.sleep(0.05)
            return 1

        assert await world.cache.get_or_set("k", slow) == 1
        assert world.cache.stats().load_timeouts == 0

    asyncio.run(scenario())


def test_a_stale_none_is_served_as_well() -> None:
    async def scenario() -> None:
        world = World()
        world.source.answer = None
        assert await world.read() is None
        world.clock.advance(10)
        world.source.answer = OSError("down")
        assert await world.read() is None

    asyncio.run(scenario())
