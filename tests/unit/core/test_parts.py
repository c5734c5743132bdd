"""Wrong parts and settings: one clear error of ours, before anything starts, and no password in it."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    ConfigurationError,
    FileCheckpointStore,
    JsonSerializer,
    MemoryInvalidationBus,
    RedisDistributedCache,
    SqliteCheckpointStore,
    SqliteDistributedCache,
    StreamOptions,
)
from async_hybrid_cache.checkpoint import TransactionalCheckpointStore
from async_hybrid_cache.distributed import Watchable
from async_hybrid_cache.joint import Joins
from async_hybrid_cache.offers import offers
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.shared_memory import SharedMemory

SECRET = "hunter2"


@pytest.mark.parametrize("part", ["distributed_cache", "invalidation_bus", "options"])
@pytest.mark.parametrize("given", [f"redis://:{SECRET}@host/0", 3, SharedMemory, MemoryInvalidationBus])
def test_a_part_of_the_wrong_kind_is_named_and_not_repeated(part: str, given: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        AsyncHybridCache(**{part: given})
    assert part in str(raised.value)
    assert SECRET not in str(raised.value)


class Traced:
    """What it is made of, with each call handed on."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


def test_a_wrapper_that_hands_all_calls_on_is_taken_for_the_part_in_it(tmp_path: Path) -> None:
    # isinstance says so on Python 3.11 alone
    checkpoints: Any = Traced(SqliteCheckpointStore(tmp_path / "checkpoints.db"))
    assert offers(checkpoints, TransactionalCheckpointStore)
    assert not offers(Traced(FileCheckpointStore(tmp_path)), TransactionalCheckpointStore)
    l2: Any = Traced(SqliteDistributedCache(tmp_path / "l2.db", serializer=Traced(JsonSerializer())))
    assert offers(l2, Watchable)
    assert not offers(l2, Joins)
    assert offers(Traced(RedisDistributedCache(Redis())), Joins)

    async def two() -> int:
        return 2

    async def scenario() -> None:
        bus = MemoryInvalidationBus("traced", stream=StreamOptions(instance_id="i", checkpoints=checkpoints))
        async with AsyncHybridCache(distributed_cache=l2, invalidation_bus=bus) as cache:
            await cache.set("k", 1)
            await cache.remove("k")
            assert await cache.get_or_set("k", two) == 2
            await eventually(lambda: cache.stats().distributed.fills == 2)

    asyncio.run(scenario())


@pytest.mark.parametrize("url", [None, 3, f"user:{SECRET}://x", f":{SECRET}@host", ""])
def test_what_is_no_url(url: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        AsyncHybridCache.from_url(url)
    assert SECRET not in str(raised.value)


def test_a_scheme_in_capitals_is_the_same_scheme() -> None:
    assert AsyncHybridCache.from_url("MEMORY://parts")


@pytest.mark.parametrize(
    "options", [{"instance_id": 3}, {"instance_id": ""}, {"checkpoints": "folder"}, {"replay_records": 1.5}]
)
def test_stream_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        StreamOptions(**options)


def test_a_number_too_large_for_a_clock() -> None:
    with pytest.raises(ConfigurationError, match="ttl_seconds"):
        CacheOptions(ttl_seconds=10**400)


@pytest.mark.parametrize("serializer", [3, "json", JsonSerializer])
def test_a_serializer_of_the_wrong_kind(serializer: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="serializer must be a Serializer object"):
        SqliteDistributedCache(tmp_path / "cache.db", serializer=serializer)
    with pytest.raises(ConfigurationError, match="serializer must be a Serializer object"):
        RedisDistributedCache(Redis(), serializer=serializer)


def test_what_is_no_path_and_what_is_no_function() -> None:
    path: Any = 3
    with pytest.raises(ConfigurationError, match="path must be"):
        SqliteDistributedCache(path)

    async def load(user_id: str) -> str:
        return user_id

    partial: Any = functools.partial(load, "1")
    with pytest.raises(ConfigurationError, match="async def"):
        AsyncHybridCache().cached("k")(partial)


def test_options_of_a_call() -> None:
    async def load() -> int:
        return 1

    async def scenario() -> None:
        cache = AsyncHybridCache()
        options: Any = {"ttl_seconds": 3}
        with pytest.raises(ConfigurationError, match=r"CacheOptions\(\.\.\.\), not dict"):
            await cache.get_or_set("k", load, options=options)
        with pytest.raises(ConfigurationError, match="lru_max_keys is an option of a scope"):
            await cache.get_or_set("k", load, options=CacheOptions(lru_max_keys=0))
        with pytest.raises(ConfigurationError, match="lru_max_keys is an option of a scope"):
            await cache.set("k", 1, options=CacheOptions(lru_max_keys=0))

    asyncio.run(scenario())


def test_a_scope_given_options_after_its_functions_passes_them_on() -> None:
    cache = AsyncHybridCache()
    loads = 0

    @cache.cached("k", scope="later")
    async def load() -> int:
        nonlocal loads
        loads += 1
        return loads

    cache.scope("later", options=CacheOptions(ttl_seconds=0))

    async def scenario() -> None:
        assert [await load(), await load()] == [1, 2]

    asyncio.run(scenario())
