"""Options: checked when made, and inherited."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheError, CacheOptions, ConfigurationError, StreamOptions
from async_hybrid_cache.options import EffectiveOptions, is_outage
from tests.unit.core.clock import ManualClock

SECONDS = ["ttl_seconds", "fail_safe_seconds", "fail_safe_throttle_seconds", "hard_timeout_seconds", "jitter_seconds"]
NO_NUMBER: list[Any] = [-1, -0.001, math.nan, math.inf, True, "5", [1], None]


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", NO_NUMBER, ids=repr)
def test_seconds_that_are_none_are_refused_by_name(name: str, value: Any) -> None:
    if name == "hard_timeout_seconds" and value is None:
        assert CacheOptions(hard_timeout_seconds=None).hard_timeout_seconds is None
        return
    with pytest.raises(CacheError, match=name):
        CacheOptions(**{name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("hard_timeout_seconds", [0, 0.0]),
        ("lru_max_keys", [-1, 1.5, 10.0, math.nan, True, "10"]),
        ("copy_on_hit", [1, 0, None, "yes"]),
        ("max_staleness_seconds", [0, -1, math.nan, math.inf, True, "1"]),
        ("on_stale", ["stale", "", None, True, ["load"]]),
        ("fail_safe_on", [True, None, "is_outage", 500]),
    ],
)
def test_other_options_are_refused_by_name(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError, match=name):
            CacheOptions(**{name: value})


def test_what_is_allowed_at_the_edge() -> None:
    options = CacheOptions(ttl_seconds=0, fail_safe_seconds=0, jitter_seconds=0, lru_max_keys=0)
    assert CacheOptions(lru_max_keys=None, fail_safe_on=lambda error: True) != options


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="ttl_secs"):
        CacheOptions(ttl_secs=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "arguments",
    [
        {"options": {"ttl_seconds": 5}},
        {"invalidation_bus": "redis://localhost"},
        {"distributed_timeout_seconds": 0},
        {"distributed_timeout_seconds": math.nan},
        {"lease_seconds": -1},
        {"lease_seconds": True},
    ],
    ids=repr,
)
def test_the_cache_refuses_what_it_cannot_use(arguments: dict[str, Any]) -> None:
    with pytest.raises(CacheError, match=next(iter(arguments))):
        AsyncHybridCache(**arguments)


@pytest.mark.parametrize(
    "name",
    [name for name in StreamOptions.__slots__ if name not in ("instance_id", "checkpoints", "outbox")],
)
@pytest.mark.parametrize("value", [-1, math.nan, True, "1"], ids=repr)
def test_the_stream_refuses_what_it_cannot_use(name: str, value: Any) -> None:
    with pytest.raises(CacheError, match=name):
        StreamOptions(**{name: value})


def test_omitted_options_are_inherited_and_set_ones_win() -> None:
    base = EffectiveOptions().override(CacheOptions(ttl_seconds=10, hard_timeout_seconds=None))
    merged = base.override(CacheOptions(ttl_seconds=20, lru_max_keys=None))
    assert merged.ttl_seconds == 20
    assert merged.hard_timeout_seconds is None
    assert merged.lru_max_keys is None
    assert merged.fail_safe_seconds == EffectiveOptions().fail_safe_seconds


def fresh_for(clock: ManualClock, cache: AsyncHybridCache, read: Any) -> float:
    """How long, in whole seconds, the value that `read` loads is fresh."""

    async def scenario() -> float:
        started, first = clock.now, await read()
        while await read() == first:
            clock.advance(1)
            assert clock.now - started < 1000
        return clock.now - started

    return asyncio.run(scenario())


def numbers() -> Any:
    count = iter(range(1000))

    async def number() -> int:
        return next(count)

    return number


def test_inheritance_from_call_over_scope_over_cache() -> None:
    clock = ManualClock()
    cache = AsyncHybridCache(clock=clock, options=CacheOptions(ttl_seconds=10, fail_safe_seconds=0))
    users = cache.scope("users", options=CacheOptions(ttl_seconds=20))
    load = numbers()
    call = CacheOptions(ttl_seconds=30)
    assert fresh_for(clock, cache, lambda: cache.get_or_set("a", load)) == 10
    assert fresh_for(clock, cache, lambda: users.get_or_set("a", load)) == 20
    assert fresh_for(clock, cache, lambda: users.get_or_set("b", load, options=call)) == 30
    assert fresh_for(clock, cache, lambda: cache.get_or_set("b", load, options=call)) == 30


def test_a_functions_options_are_laid_over_those_of_its_scope() -> None:
    clock = ManualClock()
    cache = AsyncHybridCache(clock=clock, options=CacheOptions(ttl_seconds=10, fail_safe_seconds=0))
    users = cache.scope("users", options=CacheOptions(ttl_seconds=20, lru_max_keys=5))
    load = numbers()

    @users.cached("inherits")
    async def inherits() -> int:
        return await load()

    @users.cached("adds", options=CacheOptions(copy_on_hit=False))
    async def adds() -> int:
        return await load()

    @users.cached("own", options=CacheOptions(ttl_seconds=40))
    async def own() -> int:
        return await load()

    @cache.cached("alone")
    async def alone() -> int:
        return await load()

    assert fresh_for(clock, cache, inherits) == 20
    assert fresh_for(clock, cache, adds) == 20
    assert fresh_for(clock, cache, own) == 40
    assert fresh_for(clock, cache, alone) == 10
    assert fresh_for(clock, cache, lambda: users.get_or_set("plain", load)) == 20


def test_two_sizes_for_one_scope_are_refused() -> None:
    cache = AsyncHybridCache()
    cache.scope("users", options=CacheOptions(lru_max_keys=5))
    cache.scope("users", options=CacheOptions(lru_max_keys=5))
    with pytest.raises(ConfigurationError, match="lru_max_keys"):
        cache.scope("users", options=CacheOptions(lru_max_keys=6))


@pytest.mark.parametrize("scope", [1, None, b"users", ("users",)], ids=repr)
def test_a_scope_that_is_no_string_is_refused(scope: Any) -> None:
    with pytest.raises(ConfigurationError, match="scope"):
        AsyncHybridCache().scope(scope)


class Answer(Exception):
    def __init__(self, status_code: object) -> None:
        self.status_code = status_code


class Wrapped(Exception):
    def __init__(self, status_code: int) -> None:
        self.response = Answer(status_code)


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (ValueError(), True),
        (TimeoutError(), True),
        (Answer(404), False),
        (Answer(403), False),
        (Answer(499), False),
        (Answer(500), True),
        (Answer(503), True),
        (Answer("404"), True),
        (Answer(None), True),
        (Wrapped(404), False),
        (Wrapped(502), True),
    ],
    ids=lambda value: repr(value),
)
def test_an_answer_is_not_an_outage(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage
