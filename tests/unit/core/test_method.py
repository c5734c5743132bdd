"""`@cache.cached` on methods."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, ConfigurationError

cache = AsyncHybridCache()


class Service:
    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.calls = 0

    @cache.cached("user:{user_id}")
    async def load(self, user_id: str, *, full: bool = False) -> tuple[str, int]:
        """Load a user."""
        self.calls += 1
        return user_id, self.version

    @classmethod
    @cache.cached("class:{user_id}")
    async def make(cls, user_id: str) -> str:
        return f"{cls.__name__}:{user_id}"

    @staticmethod
    @cache.cached
    async def plain(user_id: str) -> str:
        return user_id


class Derived(Service):
    @cache.cached(lambda user_id: f"derived:{user_id}")
    async def load(self, user_id: str, *, full: bool = False) -> tuple[str, int]:
        user, version = await super().load(user_id, full=full)
        return user, -version


@pytest.fixture(autouse=True)
def _empty() -> None:
    asyncio.run(cache.clear())


def test_a_method_knows_its_instance_and_its_key_does_not() -> None:
    async def scenario() -> None:
        one, two = Service(1), Service(2)
        assert await one.load("7") == ("7", 1)
        assert await two.load("7") == ("7", 1)
        assert (one.calls, two.calls) == (1, 0)
        assert one.load.cache_key("7") == "user:7" == Service.load.cache_key("7")  # type: ignore[call-arg, arg-type]
        assert await two.load.refresh_cached("7") == ("7", 2)
        assert await one.load("7") == ("7", 2)
        await one.load.set_cached(("7", 9), "7", full=True)
        assert await two.load(user_id="7") == ("7", 9)
        await one.load.remove_cached("7")
        assert await one.load("7") == ("7", 1)
        assert await Service.load(two, "8") == ("8", 2)

    asyncio.run(scenario())


def test_a_method_looks_like_a_coroutine_function() -> None:
    bound = Service().load
    for function in (bound, Service.load, Service.make, Service().make, Service.plain, Service().plain):
        assert inspect.iscoroutinefunction(function)
        assert asyncio.iscoroutinefunction(function)
    assert bound.__name__ == "load"
    assert bound.__doc__ == "Load a user."
    assert list(inspect.signature(bound).parameters) == ["user_id", "full"]
    assert list(inspect.signature(Service.load).parameters) == ["self", "user_id", "full"]
    assert list(inspect.signature(Service.make).parameters) == ["user_id"]
    assert bound.__wrapped__ is Service.load.__wrapped__
    assert bound.__wrapped__.__code__.co_filename == __file__
    service = Service()
    assert service.load == service.load
    assert hash(service.load) == hash(service.load)
    assert service.load != Service().load


def test_super_and_overriding() -> None:
    async def scenario() -> None:
        derived = Derived(3)
        assert await derived.load("1") == ("1", -3)
        assert derived.load.cache_key("1") == "derived:1"
        assert await Service(4).load("1") == ("1", 3)

    asyncio.run(scenario())


def test_class_and_static_methods() -> None:
    async def scenario() -> None:
        assert await Service.make("1") == "Service:1"
        assert await Service().make("1") == "Service:1"
        assert Service.make.cache_key("1") == "class:1"
        await Service.make.remove_cached("1")
        assert await Derived.make("1") == "Derived:1"
        # from 3.13 on @classmethod tells what it wraps nothing of the class, so a refresh has to be told
        told = (Service,) if sys.version_info >= (3, 13) else ()
        assert await Service.make.refresh_cached(*told, "1") == "Service:1"  # type: ignore[arg-type]
        await Service.make.set_cached("set", "1")
        assert await Derived.make("1") == "set"
        assert await Service.plain("1") == await Service().plain("1") == "1"
        await Service.plain.remove_cached("1")
        assert await Service.plain.refresh_cached("1") == "1"

    asyncio.run(scenario())


def test_a_method_without_a_key_is_refused_at_decoration() -> None:
    with pytest.raises(ConfigurationError, match="self is never part of a key"):

        class Wrong:
            @cache.cached
            async def load(self, user_id: str) -> str:
                return user_id

    with pytest.raises(ConfigurationError, match="load"):

        class Other:
            @cache.cached()
            async def load(self) -> str:
                return ""


def test_self_cannot_be_named_in_a_template() -> None:
    with pytest.raises(ConfigurationError, match=r"names \{self.tenant\}"):

        class Wrong:
            tenant = 1

            @cache.cached("{self.tenant}:{user_id}")
            async def load(self, user_id: str) -> str:
                return user_id


@pytest.mark.parametrize("outer", [staticmethod, classmethod])
def test_the_wrong_order_of_decorators_is_named(outer: Any) -> None:
    with pytest.raises(ConfigurationError, match="below @staticmethod or @classmethod"):

        class Wrong:
            @cache.cached("k")
            @outer
            async def load(cls) -> str:
                return ""
