"""What type checkers see; checked by test_typing.py with mypy --strict and pyright, never run."""

from __future__ import annotations

from typing import assert_type

from async_hybrid_cache import AsyncHybridCache, CachedFunction, CacheOptions, CacheStats, Receipt

cache = AsyncHybridCache()
users = cache.scope("users", options=CacheOptions(ttl_seconds=5))


class User: ...


@cache.cached(lambda user_id: f"user:{user_id}", options=CacheOptions(ttl_seconds=30))
async def by_function(user_id: str, *, full: bool = False) -> User:
    return User()


@cache.cached("user:{user_id}")
async def by_template(user_id: str) -> User | None:
    return None


@cache.cached
async def bare(number: int, /, *more: str) -> list[int]:
    return [number]


@cache.cached()
async def called() -> None: ...


@users.cached("user:{user_id}")
async def scoped(user_id: int) -> User:
    return User()


class Service:
    @cache.cached("user:{user_id}")
    async def load(self, user_id: int, *, full: bool = False) -> User:
        return User()

    @staticmethod
    @cache.cached
    async def plain(user_id: int) -> User:
        return User()


class Shelf:
    """An L2 as it was written for the predecessor."""

    async def get(self, key: str) -> object | None: ...

    async def set(self, key: str, value: object, ttl_seconds: float) -> None: ...

    async def delete(self, key: str) -> None: ...


class Sync(Shelf):
    def get(self, key: str) -> object | None: ...  # type: ignore[override]


shelved = AsyncHybridCache(distributed_cache=Shelf())


def takes(function: CachedFunction[[str], User | None]) -> None: ...


async def uses(service: Service) -> None:
    assert_type(await by_function("1", full=True), User)
    assert_type(await by_template(user_id="1"), User | None)
    assert_type(await bare(1, "a", "b"), list[int])
    assert_type(await called(), None)
    assert_type(await scoped(1), User)
    assert_type(by_function.cache_key("1", full=True), str)
    assert_type(await by_function.remove_cached("1"), Receipt)
    assert_type(await by_function.set_cached(User(), "1", full=True), Receipt)
    assert_type(await by_function.refresh_cached("1"), User)
    assert_type(await by_function.at_least("17-42")("1", full=True), User)
    assert_type(by_function.__name__, str)
    takes(by_template)

    assert_type(await service.load(1, full=True), User)
    assert_type(service.load.cache_key(1), str)
    assert_type(await service.load.remove_cached(1, full=True), Receipt)
    assert_type(await service.load.refresh_cached(1), User)
    assert_type(await service.load.at_least(Receipt(None, False))(1), User)
    assert_type(await Service.load(service, 1), User)
    assert_type(await Service.plain(1), User)
    assert_type(await Service.plain.remove_cached(1), Receipt)

    assert_type(await cache.get_or_set("k", called), None)
    assert_type(await users.get_or_set("k", lambda: scoped(1)), User)
    assert_type(await cache.set("k", 1), Receipt)
    assert_type(cache.stats(), CacheStats)
    async with cache as started:
        assert_type(started, AsyncHybridCache)


async def mistakes(service: Service) -> None:
    # each of these lines must be an error: an unused ignore is one under both checkers
    await by_function(1)  # type: ignore[arg-type]
    await by_function("1", full="yes")  # type: ignore[arg-type]
    await by_function.remove_cached(1)  # type: ignore[arg-type]
    await by_function.remove_cached()  # type: ignore[call-arg]
    by_template.cache_key(other="1")  # type: ignore[call-arg]
    await service.load("1")  # type: ignore[arg-type]
    await service.load.remove_cached(service, 1)  # type: ignore[call-arg, arg-type]
    takes(scoped)  # type: ignore[arg-type]
    cache.cached(5)  # type: ignore[call-overload]
    AsyncHybridCache(distributed_cache=Sync())  # type: ignore[arg-type]
    AsyncHybridCache(distributed_cache="redis://localhost")  # type: ignore[arg-type]
    CacheOptions(ttl_secs=5)  # type: ignore[call-arg]
    CacheOptions(ttl_seconds="5")  # type: ignore[arg-type]


@cache.cached("k")  # type: ignore[arg-type]
def sync() -> int:
    return 1
