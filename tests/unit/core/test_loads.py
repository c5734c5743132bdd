"""One load per key at a time."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, LoaderTimeout
from tests.unit.core.gate import Gate


def state_of(cache: AsyncHybridCache, scope: str = "default") -> Any:
    return cache.scope_state(scope)


def test_a_thousand_tasks_one_load() -> None:
    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        tasks = [asyncio.create_task(cache.get_or_set("k", gate)) for _ in range(1000)]
        await gate.called()
        await asyncio.sleep(0)
        gate.calls[0].set_result(5)
        assert await asyncio.gather(*tasks) == [5] * 1000
        assert len(gate.calls) == cache.stats().loads == 1

    asyncio.run(scenario())


def test_different_keys_and_scopes_load_side_by_side() -> None:
    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        tasks = [asyncio.create_task(cache.get_or_set(key, gate, scope=s)) for key in "ab" for s in "xy"]
        await gate.called(4)
        for number, call in enumerate(gate.calls):
            call.set_result(number)
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3]

    asyncio.run(scenario())


@pytest.mark.parametrize("cancelled", [[0], [1], [0, 1], [0, 1, 2, 3]])
def test_a_cancelled_caller_hurts_nobody(cancelled: list[int]) -> None:
    """cashews, theine and cachebox: a cancelled leader cancels all waiters."""

    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        tasks = [asyncio.create_task(cache.get_or_set("k", gate)) for _ in range(4)]
        await gate.called()
        for index in cancelled:
            tasks[index].cancel()
        await asyncio.sleep(0)
        gate.calls[0].set_result(5)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for index, result in enumerate(results):
            assert isinstance(result, asyncio.CancelledError) if index in cancelled else result == 5
        assert await cache.get_or_set("k", gate) == 5
        assert len(gate.calls) == 1

    asyncio.run(scenario())


def test_a_failing_loader_runs_once_for_all_who_wait() -> None:
    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        tasks = [asyncio.create_task(cache.get_or_set("k", gate)) for _ in range(50)]
        await gate.called()
        gate.calls[0].set_exception(OSError("down"))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(result) for result in results] == ["down"] * 50
        assert len(gate.calls) == 1
        again = asyncio.create_task(cache.get_or_set("k", gate))
        await gate.called(2)
        gate.calls[1].set_result(1)
        assert await again == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("fails", [False, True])
def test_no_object_of_a_key_outlives_its_load(fails: bool) -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(lru_max_keys=0))

        async def load() -> int:
            await asyncio.sleep(0)
            if fails:
                raise OSError("down")
            return 1

        async def objects(keys: int) -> int:
            calls = [cache.get_or_set(f"k{number}", load) for number in range(keys)]
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.gather(*[cache.get(f"k{number}") for number in range(keys)])
            del calls
            # done callbacks of the last tasks run one turn later
            await asyncio.sleep(0)
            gc.collect()
            return len(gc.get_objects())

        few, many = await objects(100), await objects(5000)
        assert many - few < 200
        assert not state_of(cache).loads
        assert not state_of(cache).probes

    asyncio.run(scenario())


def test_removing_while_loading() -> None:
    """Those who wait get the old load's value; it fills nothing, and nobody joins it any more."""

    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        before = asyncio.create_task(cache.get_or_set("k", gate))
        await gate.called()
        await cache.remove("k")
        after = asyncio.create_task(cache.get_or_set("k", gate))
        await gate.called(2)
        gate.calls[0].set_result("old")
        assert await before == "old"
        assert await cache.get("k") is None
        gate.calls[1].set_result("new")
        assert await after == "new"
        assert await cache.get("k") == "new"
        assert cache.stats().fills_fenced == 1
        assert cache.stats().fenced == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("change", ["remove", "set", "clear", "clear_scope", "remove_local", "clear_memory"])
def test_every_change_fences_the_load_under_way(change: str) -> None:
    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        task = asyncio.create_task(cache.get_or_set("k", gate))
        await gate.called()
        match change:
            case "remove":
                await cache.remove("other", "k")
            case "set":
                await cache.set("k", "set")
            case "clear":
                await cache.clear()
            case "clear_scope":
                await cache.clear(scope="default")
            case "remove_local":
                await cache.remove_local("k")
            case "clear_memory":
                await cache.clear_memory()
        gate.calls[0].set_result("old")
        assert await task == "old"
        assert await cache.get("k") == ("set" if change == "set" else None)

    asyncio.run(scenario())


def test_a_change_of_another_key_fences_nothing() -> None:
    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        task = asyncio.create_task(cache.get_or_set("k", gate))
        await gate.called()
        await cache.remove("other")
        await cache.remove("k", scope="other")
        await cache.clear(scope="other")
        gate.calls[0].set_result("value")
        await task
        assert await cache.get("k") == "value"

    asyncio.run(scenario())


user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


def test_context_variables_of_the_caller_reach_the_loader() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()

        async def load() -> str:
            await asyncio.sleep(0)
            return user.get()

        user.set("peter")
        assert await cache.get_or_set("k", load) == "peter"

    asyncio.run(scenario())


def test_what_the_loader_does_to_the_context_stays_there() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()

        async def load() -> str:
            user.set("loader")
            return ""

        await cache.get_or_set("k", load)
        assert user.get() == "nobody"

    asyncio.run(scenario())


def test_a_loader_that_is_cancelled_by_itself_is_a_failing_one() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(ttl_seconds=0))

        async def cancelled() -> str:
            await asyncio.sleep(0)
            raise asyncio.CancelledError

        calls = [cache.get_or_set("k", cancelled) for _ in range(3)]
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, LoaderTimeout), result
        await cache.set("k", "stale")
        assert await cache.get_or_set("k", cancelled) == "stale"

    asyncio.run(scenario())


class Abort(BaseException):
    pass


def test_a_loader_that_aborts_releases_everybody() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)

        async def abort() -> str:
            await asyncio.sleep(0)
            raise Abort

        calls = [cache.get_or_set("k", abort) for _ in range(3)]
        async with asyncio.timeout(2):
            for result in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(result, LoaderTimeout | Abort), result
        assert not state_of(cache).loads

    asyncio.run(scenario())


def test_a_loader_that_raises_what_no_future_takes() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()

        def broken() -> Any:
            return next(iter(()))

        async with asyncio.timeout(2):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await cache.get_or_set("k", broken)

    asyncio.run(scenario())


def test_a_factory_that_is_no_coroutine_function_is_an_error_for_the_caller() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        with pytest.raises(TypeError):
            await cache.get_or_set("k", lambda: 1)  # type: ignore[arg-type, return-value]

    asyncio.run(scenario())


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_none_and_other_false_values_are_values(value: Any) -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        loads = 0

        async def load() -> Any:
            nonlocal loads
            loads += 1
            return value

        assert await cache.get("k", "missing") == "missing"
        for _ in range(3):
            assert await cache.get_or_set("k", load) == value
            assert await cache.get("k", "missing") == value
        assert loads == 1
        await cache.set("set", value)
        assert await cache.get("set", "missing") == value

    asyncio.run(scenario())


def test_a_get_neither_loads_nor_joins_a_load() -> None:
    async def scenario() -> None:
        cache, gate = AsyncHybridCache(), Gate()
        task = asyncio.create_task(cache.get_or_set("k", gate))
        await gate.called()
        async with asyncio.timeout(1):
            assert await cache.get("k", "missing") == "missing"
        gate.calls[0].set_result(1)
        assert await task == 1
        assert await cache.get("k", "missing") == 1

    asyncio.run(scenario())
