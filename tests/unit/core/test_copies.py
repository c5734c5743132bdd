"""Nobody can change what is cached."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions
from async_hybrid_cache.copies import copier


@dataclasses.dataclass
class User:
    name: str
    tags: list[str]


@dataclasses.dataclass(frozen=True)
class Holder:
    tags: list[str]


class Model(pydantic.BaseModel):
    tags: list[str]


class Struct(msgspec.Struct):
    tags: list[str]


class Colour(enum.Enum):
    RED = 1


class Frozen(msgspec.Struct, frozen=True):
    name: str


def add_tag(value: Any) -> None:
    value.tags.append("evil")


MUTABLE: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (lambda: {"a": 1}, lambda value: value.update(a=2)),
    (lambda: {"a": {"b": [1]}}, lambda value: value["a"]["b"].append(2)),
    (lambda: {"a": (1, [2])}, lambda value: value["a"][1].append(3)),
    (lambda: [1], lambda value: value.append(2)),
    (lambda: [[1]], lambda value: value[0].append(2)),
    (lambda: {1, 2}, lambda value: value.add(3)),
    (lambda: ([1],), lambda value: value[0].append(2)),
    (lambda: bytearray(b"a"), lambda value: value.extend(b"b")),
    (lambda: User("Peter", ["x"]), add_tag),
    (lambda: [User("Peter", ["x"])], lambda value: add_tag(value[0])),
    (lambda: Holder(["x"]), add_tag),
    (lambda: Model(tags=["x"]), add_tag),
    (lambda: Struct(["x"]), add_tag),
]


@pytest.mark.parametrize(("make", "change"), MUTABLE)
def test_no_caller_changes_what_others_get(make: Callable[[], Any], change: Callable[[Any], Any]) -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()

        async def load() -> Any:
            await asyncio.sleep(0)
            return make()

        callers = await asyncio.gather(*[cache.get_or_set("k", load) for _ in range(3)])
        for value in callers:
            assert value == make()
            change(value)
        for _ in range(2):
            value = await cache.get_or_set("k", load)
            assert value == make()
            change(value)
        value = await cache.get("k")
        assert value == make()
        given = make()
        await cache.set("k", given)
        change(given)
        assert await cache.get("k") == make()
        assert cache.stats().loads == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, 1.5, "text", b"bytes", (1, "two", (3.0,)), frozenset({1}), datetime.datetime(2026, 1, 1),
        uuid.UUID(int=1), Colour.RED, Frozen("Peter"), int, range(3), ...,
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_change_is_shared(value: Any) -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        await cache.set("k", value)
        assert await cache.get("k", "missing") is value

    assert copier(value) is None
    asyncio.run(scenario())


def test_what_cannot_be_copied_is_shared_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        caplog.set_level(logging.WARNING, "async_hybrid_cache")

        async def load() -> Any:
            await asyncio.sleep(0)
            return threading.Lock()

        callers = await asyncio.gather(*[cache.get_or_set("k", load) for _ in range(3)])
        assert len({id(value) for value in callers}) == 1
        assert await cache.get("k") is callers[0]
        await cache.set("other", threading.Lock())
        await cache.set("elsewhere", threading.Lock(), scope="another")

    asyncio.run(scenario())
    assert [("'default'" in r.message, "copy_on_hit=False" in r.message) for r in caplog.records] == [
        (True, True),
        (False, True),
    ]


def test_copy_on_hit_false_shares_one_object() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(copy_on_hit=False))

        async def load() -> dict[str, int]:
            await asyncio.sleep(0)
            return {"a": 1}

        callers = await asyncio.gather(*[cache.get_or_set("k", load) for _ in range(3)])
        callers.append(await cache.get("k"))
        assert len({id(value) for value in callers}) == 1

    asyncio.run(scenario())


def test_stale_values_are_shared_too_where_that_is_wanted() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(copy_on_hit=False, ttl_seconds=0, fail_safe_seconds=60))
        value = {"a": 1}
        await cache.set("k", value)

        async def fail() -> dict[str, int]:
            await asyncio.sleep(0)
            raise OSError("down")

        for got in await asyncio.gather(*[cache.get_or_set("k", fail) for _ in range(3)]):
            assert got is value

    asyncio.run(scenario())


def test_stale_values_are_copied_for_everybody() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(ttl_seconds=0, fail_safe_seconds=60))
        await cache.set("k", {"a": [1]})

        async def fail() -> dict[str, list[int]]:
            await asyncio.sleep(0)
            raise OSError("down")

        for value in await asyncio.gather(*[cache.get_or_set("k", fail) for _ in range(3)]):
            assert value == {"a": [1]}
            value["a"].append(2)
        assert await cache.get_or_set("k", fail) == {"a": [1]}

    asyncio.run(scenario())
