"""`@cache.cached` on functions: the wrapper looks like what it wraps, and its helpers agree with it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any, get_type_hints

import pytest

from async_hybrid_cache import AsyncHybridCache, ConfigurationError
from async_hybrid_cache.testing.waiting import eventually


def test_the_wrapper_looks_like_the_function() -> None:
    cache = AsyncHybridCache()

    async def load(user_id: int, /, name: str = "x", *rest: float, flag: bool = True, **more: bytes) -> dict[str, int]:
        """Load a user."""
        return {"a": 1}

    load.extra = "kept"  # type: ignore[attr-defined]
    cached = cache.cached("{user_id}")(load)
    assert inspect.iscoroutinefunction(cached)
    assert asyncio.iscoroutinefunction(cached)
    assert cached.__name__ == "load"
    assert cached.__qualname__ == load.__qualname__  # type: ignore[attr-defined]
    assert cached.__module__ == __name__
    assert cached.__doc__ == "Load a user."
    assert cached.__wrapped__ is load
    assert cached.extra == "kept"  # type: ignore[attr-defined]
    assert inspect.signature(cached) == inspect.signature(load)
    assert get_type_hints(cached) == get_type_hints(load)
    own = inspect.signature(cached, follow_wrapped=False)
    assert [(p.name, p.kind, p.default) for p in own.parameters.values()] == [
        (p.name, p.kind, p.default) for p in inspect.signature(load).parameters.values()
    ]


def test_all_kinds_of_arguments_reach_the_function() -> None:
    cache = AsyncHybridCache()

    @cache.cached
    async def echo(a: Any, /, b: Any = 2, *rest: Any, c: Any, d: Any = 4, **more: Any) -> Any:
        return a, b, rest, c, d, more

    async def scenario() -> None:
        assert await echo(1, c=3) == (1, 2, (), 3, 4, {})
        assert await echo(1, 5, 6, 7, c=3, d=8, e=9, a=10) == (1, 5, (6, 7), 3, 8, {"e": 9, "a": 10})
        with pytest.raises(TypeError):
            await echo(1)  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            await echo(a=1, c=3)  # type: ignore[call-arg]
        # what differs only in its type is loaded by itself
        assert [await echo(value, c=0) for value in (1, True, 1.0, "1")] == [
            (value, 2, (), 0, 4, {}) for value in (1, True, 1.0, "1")
        ]
        assert cache.stats().loads == 6

    asyncio.run(scenario())


def test_parameters_with_awkward_names() -> None:
    cache = AsyncHybridCache()

    @cache.cached("{key}{store}{value}{args}{kwargs}")
    async def awkward(key: int, store: int, value: int, args: int, kwargs: int, miss: int = 6, cache: int = 7) -> int:
        return key + store + value + args + kwargs + miss + cache

    assert asyncio.run(awkward(1, 2, 3, 4, kwargs=5)) == 28
    assert awkward.cache_key(1, 2, 3, 4, 5) == "12345"

    async def reserved(__ahc_get: int) -> int:
        return 1

    with pytest.raises(ConfigurationError, match="__ahc_"):
        cache.cached(reserved)


def test_helpers_take_the_same_arguments() -> None:
    cache = AsyncHybridCache()
    version = 1

    @cache.cached("user:{user_id}")
    async def load(user_id: str, *, full: bool = False) -> int:
        return version

    async def scenario() -> None:
        nonlocal version
        assert load.cache_key("1", full=True) == "user:1"
        assert await load("1") == 1
        version = 2
        assert await load("1") == 1
        await load.remove_cached("1", full=True)
        assert await load("1") == 2
        version = 3
        assert await load.refresh_cached("1") == 3
        assert await load("1") == 3
        await load.set_cached(9, user_id="1")
        assert await load("1") == 9
        with pytest.raises(TypeError):
            await load.remove_cached()  # type: ignore[call-arg]

    asyncio.run(scenario())


def test_a_refresh_that_fails_keeps_what_there_is() -> None:
    cache = AsyncHybridCache()
    broken = False

    @cache.cached("k")
    async def load() -> int:
        if broken:
            raise OSError("down")
        return 1

    async def scenario() -> None:
        nonlocal broken
        await load()
        broken = True
        assert await load.refresh_cached() == 1
        assert await load() == 1

    asyncio.run(scenario())


def test_a_refresh_overtakes_the_load_under_way() -> None:
    cache = AsyncHybridCache()
    gates: list[asyncio.Future[int]] = []

    @cache.cached("k")
    async def load() -> int:
        gates.append(asyncio.get_running_loop().create_future())
        return await gates[-1]

    async def scenario() -> None:
        first = asyncio.create_task(load())
        await eventually(lambda: len(gates) == 1)
        second = asyncio.create_task(load.refresh_cached())
        await eventually(lambda: len(gates) == 2)
        gates[1].set_result(2)
        assert await second == 2
        gates[0].set_result(1)
        assert await first == 1
        assert await load() == 2

    asyncio.run(scenario())


def test_decorating_what_is_no_coroutine_function_is_refused() -> None:
    cache = AsyncHybridCache()

    def sync() -> int:
        return 1

    async def stream() -> Any:
        yield 1

    for function in (sync, stream, 5, functools.partial(sync), staticmethod(sync)):
        for decorate in (cache.cached("k"), cache.cached()):
            with pytest.raises(ConfigurationError):
                decorate(function)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"sync.*async def"):
        cache.cached("k")(sync)  # type: ignore[arg-type]


def test_a_sync_function_under_the_bare_decorator_is_refused_at_decoration() -> None:
    """Bare `@cache.cached` on `def` looks like a key function given; the mistake must not pass silently."""
    cache = AsyncHybridCache()

    @cache.cached  # type: ignore[arg-type]
    def sync(user_id: int) -> str:
        return ""

    # it is a decorator waiting for its function; used as the function it says so
    with pytest.raises(ConfigurationError, match="async def"):
        sync(1)  # type: ignore[arg-type]


def test_functions_have_scopes_of_their_own_unless_told() -> None:
    cache = AsyncHybridCache()

    @cache.cached("k")
    async def one() -> int:
        return 1

    @cache.cached("k")
    async def two() -> int:
        return 2

    @cache.cached("k", scope="shared")
    async def three() -> int:
        return 3

    async def scenario() -> None:
        assert [await one(), await two(), await three()] == [1, 2, 3]
        assert await cache.get("k", scope="shared") == 3
        await cache.clear(scope="shared")
        assert await cache.get("k", scope="shared") is None
        assert f"{__name__}.{one.__wrapped__.__qualname__}" in cache.stats().scopes

    asyncio.run(scenario())


def test_it_works_in_create_task_gather_and_wait_for() -> None:
    cache = AsyncHybridCache()

    @cache.cached
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return number * 2

    async def scenario() -> None:
        task = asyncio.create_task(double(1))
        assert await task == 2
        assert await asyncio.gather(double(1), double(2)) == [2, 4]
        assert await asyncio.wait_for(double(3), 1) == 6

    asyncio.run(scenario())


def test_a_decorator_below_keeps_working() -> None:
    cache = AsyncHybridCache()

    def traced(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            return "traced", await function(*args, **kwargs)

        return wrapper

    @cache.cached("user:{user_id}")
    @traced
    async def load(user_id: int, *, flag: bool = False) -> int:
        return user_id

    assert asyncio.run(load(5, flag=True)) == ("traced", 5)
    assert load.cache_key(5) == "user:5"
