"""Keys built from arguments, or by a function of them."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import decimal
import enum
import itertools
import os
import subprocess
import sys
import uuid
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from async_hybrid_cache import AsyncHybridCache, ConfigurationError
from async_hybrid_cache.keys import encode_argument

cache = AsyncHybridCache()


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Query:
    text: str
    tags: list[str]


class Struct(msgspec.Struct):
    x: int


class Model(pydantic.BaseModel):
    x: int


@cache.cached
async def anything(value: Any) -> None: ...


DISTINCT: list[Any] = [
    1, True, 1.0, "1", b"1", None, "None", 0, False, -0.0, 0.0, decimal.Decimal(1), decimal.Decimal("1.0"),
    (), (1,), [1], {1}, frozenset({1}), {1: 1}, {"1": 1}, {1: "1"}, [], {}, set(), "()", "", ("a", "b"), ("a,b",),
    "a','b", [["a"], "b"], [["a", "b"]], Colour.RED, Level.LOW, Point(1, 2), (1, 2), Query("1", ["2"]),
    Query("1", ["2", "3"]), Struct(x=1), Struct(x=2), Model(x=1), uuid.UUID(int=1), datetime.date(2026, 1, 1),
    datetime.datetime(2026, 1, 1), datetime.timedelta(1), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "x" * 300, "x" * 301, "\ud800", "ü", "u",
]  # fmt: skip


def test_what_differs_has_another_key() -> None:
    keys = [anything.cache_key(value) for value in DISTINCT]
    for (one, left), (other, right) in itertools.combinations(zip(DISTINCT, keys, strict=True), 2):
        assert left != right, (one, other)
    assert all(isinstance(key, str) and len(key) < 250 for key in keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}),
        ({"a", "b", "c"}, {"c", "b", "a"}),
        ({"a": 1}, OrderedDict(a=1)),
        (Query("a", ["b"]), Query("a", ["b"])),
        (float("nan"), float("nan")),
    ],
)
def test_what_is_the_same_has_the_same_key(one: Any, other: Any) -> None:
    assert anything.cache_key(one) == anything.cache_key(other)


@cache.cached
async def shaped(a: Any, /, b: Any = 2, *rest: Any, c: Any = 3, **more: Any) -> None: ...


def test_arguments_count_by_what_they_bind_to() -> None:
    assert shaped.cache_key(1) == shaped.cache_key(1, 2) == shaped.cache_key(1, b=2, c=3)
    assert shaped.cache_key(1, x=1, y=2) == shaped.cache_key(1, y=2, x=1)
    different = [
        shaped.cache_key(1), shaped.cache_key(1, 2, 3), shaped.cache_key(1, 2, 3, 4), shaped.cache_key(1, 3),
        shaped.cache_key(1, c=2), shaped.cache_key(1, d=3), shaped.cache_key(1, a=1), shaped.cache_key((1, 2)),
    ]  # fmt: skip
    assert len(set(different)) == len(different)


def test_a_function_without_arguments_has_one_key() -> None:
    @cache.cached
    async def settings() -> None: ...

    assert settings.cache_key() == settings.cache_key()
    with pytest.raises(TypeError):
        settings.cache_key(1)  # type: ignore[call-arg]


def test_an_argument_that_names_no_value_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigurationError, match=r"builtins\.object.*give the cached function a key"):
        anything.cache_key(object())


SCRIPT = """
import sys
from tests.unit.core.test_keys import Colour, Query, anything, shaped
print(anything.cache_key({"b": {3, 1, 2}, "a": [1, 2.5, None], "c": {"x", "y", "z"}}))
print(anything.cache_key(Query("text", ["a", "b"])), anything.cache_key(Colour.RED))
print(shaped.cache_key(1, 2, "x" * 400, d={"k": frozenset("abc")}))
"""


def test_another_process_builds_the_same_keys() -> None:
    def keys(seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", SCRIPT], env=env, check=True, capture_output=True, text=True
        ).stdout

    assert keys("1") == keys("2") != ""


async def load(user_id: int, full: bool = False, *, tenant: str = "t") -> None: ...


def test_a_key_function_may_take_all_arguments_or_some_by_name() -> None:
    everything = cache.cached(lambda user_id, full, tenant: f"{user_id}/{full}/{tenant}")(load)
    assert everything.cache_key(1, True, tenant="x") == "1/True/x"
    some = cache.cached(lambda tenant, user_id: f"{tenant}/{user_id}")(load)
    assert some.cache_key(7) == "t/7"
    keyword = cache.cached(lambda *, tenant: tenant)(load)
    assert keyword.cache_key(7, tenant="x") == "x"
    extra = cache.cached(lambda user_id, prefix="u": f"{prefix}{user_id}")(load)
    assert extra.cache_key(7) == "u7"
    any_name = cache.cached(lambda a, b, c: f"{a}/{b}/{c}")(load)
    assert any_name.cache_key(7) == "7/False/t"
    nothing = cache.cached(lambda: "constant")(load)
    assert nothing.cache_key(7) == "constant"
    whole = cache.cached(lambda *args, **kwargs: f"{args}{kwargs}")(load)
    assert whole.cache_key(7) == "(7, False){'tenant': 't'}"

    async def one(user_id: int) -> None: ...

    assert cache.cached(str)(one).cache_key(7) == "7"


def test_a_key_function_that_does_not_fit_is_refused_at_decoration() -> None:
    with pytest.raises(ConfigurationError, match=r"load has \(user_id, full, tenant\)"):
        cache.cached(lambda account: f"{account}")(load)

    class AsyncKey:
        async def __call__(self, user_id: int) -> str:
            return ""

    with pytest.raises(ConfigurationError, match="coroutine"):
        cache.cached(AsyncKey())(load)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [1, b"user", ["user"], 0.5], ids=repr)
def test_a_key_of_another_kind_is_refused(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="key must be"):
        cache.cached(key)


@pytest.mark.parametrize("made", [None, 1, b"x", ["x"], ("x",)], ids=repr)
def test_a_key_function_must_make_a_string(made: Any) -> None:
    @cache.cached(lambda: made)
    async def constant() -> int:
        return 1

    with pytest.raises(ConfigurationError, match="key must be a string"):
        constant.cache_key()
    # an unhashable one is refused by the lookup itself, so that a hit pays for no check
    with pytest.raises((ConfigurationError, TypeError), match=r"key must be a string|unhashable"):
        asyncio.run(constant())


def test_a_key_given_by_hand_must_be_a_string() -> None:
    async def scenario() -> None:
        for key in (1, None, b"k", ["k"]):
            for call in (cache.get, cache.remove, cache.remove_local):
                with pytest.raises(ConfigurationError, match="key must be a string"):
                    await call(key)  # type: ignore[operator]
            with pytest.raises(ConfigurationError, match="key must be a string"):
                await cache.set(key, 1)  # type: ignore[arg-type]

    asyncio.run(scenario())


def test_a_key_that_no_server_could_be_told_of_is_refused() -> None:
    @cache.cached("{name}")
    async def by_name(name: str) -> str:
        return name

    with pytest.raises(ConfigurationError, match="UTF-8"):
        asyncio.run(by_name("\ud800"))
    with pytest.raises(ConfigurationError, match="UTF-8"):
        asyncio.run(cache.remove("\udfff"))
    assert asyncio.run(by_name("schlüssel \U0001d11e")) == "schlüssel \U0001d11e"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


def test_flags_without_a_name_differ() -> None:
    keys = {encode_argument(rights) for rights in (Rights(0), Rights.READ, Rights(3), Rights(8), Rights(16))}
    assert len(keys) == 5


def test_models_that_differ_in_their_extras_alone_differ() -> None:
    class Query(pydantic.BaseModel, extra="allow"):
        name: str

    one, other = Query(name="a", color="red"), Query(name="a", color="blue")  # type: ignore[call-arg]
    assert encode_argument(one) != encode_argument(other)


def test_an_argument_that_contains_itself_is_refused() -> None:
    @AsyncHybridCache().cached()
    async def load(items: list[Any]) -> int:
        return 1

    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ConfigurationError, match="contains itself"):
        load.cache_key(endless)
