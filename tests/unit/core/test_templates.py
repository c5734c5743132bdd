"""Key templates: compiled once, and wrong ones refused at decoration."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, ConfigurationError

cache = AsyncHybridCache()


class Thing:
    name = "thing"


async def load(user_id: Any, when: Any = None, *rest: Any, flag: bool = False, **more: Any) -> None: ...


DAY = datetime.date(2026, 2, 3)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("settings", "settings"),
        ("", ""),
        ("user:{user_id}", "user:7"),
        ("{user_id}{user_id}", "77"),
        ("{{user_id}}", "{user_id}"),
        ("{{{user_id}}}", "{7}"),
        ("{user_id:05d}", "00007"),
        ("{user_id:>3}|{user_id:<3}|", "  7|7  |"),
        ("{user_id!r}:{when!s}", "7:2026-02-03"),
        ("{when:%Y/%m}", "2026/02"),
        ("{when.year}", "2026"),
        ("{rest}{flag}{more}", "(1,)True{'x': 2}"),
        ('it\'s "quoted" {user_id}', 'it\'s "quoted" 7'),
        ("back\\slash\\{user_id}", "back\\slash\\7"),
        ("\\N{{DIGIT ONE}}\\x41\\n", "\\N{DIGIT ONE}\\x41\\n"),
        ("line\nbreak\r\t\0{user_id}", "line\nbreak\r\t\x007"),
        ("schlüssel:☃:𝄞:{user_id}", "schlüssel:☃:𝄞:7"),
        ("\u2028\x85\x7f{user_id}", "\u2028\x85\x7f7"),
        ("{user_id!a}", "7"),
    ],
)
def test_templates(template: str, expected: str) -> None:
    cached = cache.cached(template)(load)
    assert cached.cache_key(7, DAY, 1, flag=True, x=2) == expected


@pytest.mark.parametrize(
    "template",
    [
        "user:{account}", "{}", "{0}", "{user_id[0]}", "{user_id()}", "{user_id.}", "{user_id.__class__()}", "{user_id",
        "user_id}", "{user_id!x}", "{user_id!}", "{user_id:{when}}", "{user_id:\n}", "{user_id:'\"}", "{ user_id }",
        "{__import__('os')}", "{user_id.class}", "{user_id:\\}", "\ud800{user_id}",
    ],
)  # fmt: skip
def test_wrong_templates_are_refused_at_decoration(template: str) -> None:
    with pytest.raises(ConfigurationError, match="key template"):
        cache.cached(template)(load)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"names \{account\}.*\{user_id\}, \{when\}"):
        cache.cached("user:{account}")(load)

    async def bare() -> None: ...

    with pytest.raises(ConfigurationError, match="its parameters are: none"):
        cache.cached("{account}")(bare)


def test_braces_in_an_argument_mean_nothing() -> None:
    cached = cache.cached("user:{user_id}")(load)
    assert cached.cache_key("{when}\"'\\{{") == "user:{when}\"'\\{{"


def test_a_default_that_no_source_could_name() -> None:
    marker = object()

    @cache.cached("{user_id}")
    async def picky(user_id: Any = marker, other: Any = Thing) -> Any:
        return user_id, other

    assert asyncio.run(picky()) == (marker, Thing)
