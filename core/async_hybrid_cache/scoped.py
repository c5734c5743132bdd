"""A cache with its scope filled in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from .cache import AsyncHybridCache
    from .cached import CachedFunction
    from .options import CacheOptions
    from .receipt import At, Receipt

__all__ = ["ScopedCache"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ScopedCache:
    """`cache.scope("users")`: the methods of the cache for one scope."""

    __slots__ = ("_cache", "name")

    def __init__(self, cache: AsyncHybridCache, name: str) -> None:
        self._cache = cache
        self.name = name

    async def get(self, key: str, default: Any = None, *, at_least: At = None) -> Any:
        """See `AsyncHybridCache.get`."""
        return await self._cache.get(key, default, scope=self.name, at_least=at_least)

    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Awaitable[T]],
        *,
        options: CacheOptions | None = None,
        at_least: At = None,
    ) -> T:
        """See `AsyncHybridCache.get_or_set`."""
        return await self._cache.get_or_set(key, factory, scope=self.name, options=options, at_least=at_least)

    async def set(self, key: str, value: Any, *, options: CacheOptions | None = None) -> Receipt:
        """See `AsyncHybridCache.set`."""
        return await self._cache.set(key, value, scope=self.name, options=options)

    async def remove(self, key: str, *more: str) -> Receipt:
        """See `AsyncHybridCache.remove`."""
        return await self._cache.remove(key, *more, scope=self.name)

    def invalidating(self, key: str, *more: str, within_seconds: float = 30.0) -> AbstractAsyncContextManager[Receipt]:
        """See `AsyncHybridCache.invalidating`."""
        return self._cache.invalidating(key, *more, scope=self.name, within_seconds=within_seconds)

    async def clear(self) -> Receipt:
        """Remove every entry of this scope everywhere; see `AsyncHybridCache.clear`."""
        return await self._cache.clear(scope=self.name)

    async def remove_local(self, key: str) -> None:
        """See `AsyncHybridCache.remove_local`."""
        await self._cache.remove_local(key, scope=self.name)

    async def clear_memory(self) -> None:
        """Drop this scope's entries from L1 of this process alone."""
        await self._cache.clear_memory(scope=self.name)

    def cached(
        self, key: str | Callable[..., str] | None = None, *, options: CacheOptions | None = None
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], CachedFunction[P, R]]:
        """See `AsyncHybridCache.cached`."""
        return self._cache.cached(key, scope=self.name, options=options)
