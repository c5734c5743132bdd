"""A hit through the decorator, and a miss whose loader returns at once, against a bound and the field."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import itertools
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from async_hybrid_cache import AsyncHybridCache, CacheOptions

from .measure import interleaved, table

__all__ = ["hits", "memory", "misses", "stampede"]

_IDS = [str(number) for number in range(1000)]
Cached = Callable[[str], Awaitable[Any]]


def _bound() -> Cached:
    """The least a cache of this kind does: async def, f-string key, dict, monotonic clock."""
    entries: dict[str, tuple[str, float]] = {}
    now = time.monotonic

    async def load(user_id: str) -> str:
        found = entries.get(f"user:{user_id}")
        if found is not None and now() < found[1]:
            return found[0]
        entries[f"user:{user_id}"] = ("value", now() + 3600)
        return "value"

    return load


def _ours() -> dict[str, Cached]:
    cache = AsyncHybridCache(options=CacheOptions(ttl_seconds=3600, lru_max_keys=200_000))

    @cache.cached("user:{user_id}", scope="template")
    async def template(user_id: str) -> str:
        return "value"

    @cache.cached(lambda user_id: f"user:{user_id}", scope="function")
    async def function(user_id: str) -> str:
        return "value"

    @cache.cached(scope="automatic")
    async def automatic(user_id: str) -> str:
        return "value"

    @cache.cached("user:{user_id}", scope="dict")
    async def mutable(user_id: str) -> dict[str, str]:
        return {"id": user_id, "name": "Peter"}

    return {
        "ours, key template": template,
        "ours, key function": function,
        "ours, automatic key": automatic,
        "ours, template, dict copied for each caller": mutable,
    }


def _peers() -> dict[str, Cached]:
    peers: dict[str, Cached] = {}
    if importlib.util.find_spec("async_lru"):
        from async_lru import alru_cache

        @alru_cache(maxsize=200_000, ttl=3600)
        async def lru(user_id: str) -> str:
            return "value"

        peers["async-lru"] = lru
    if importlib.util.find_spec("cachebox"):
        import cachebox

        @cachebox.cached(cachebox.TTLCache(200_000, 3600))
        async def boxed(user_id: str) -> str:
            return "value"

        peers["cachebox"] = boxed
    return peers


async def hits() -> None:
    """Nanoseconds a hit."""
    subjects = {"bound": _bound(), **_ours(), **_peers()}

    def reading(load: Cached) -> Callable[[int], Awaitable[None]]:
        async def read(calls: int) -> None:
            for _ in range(calls // len(_IDS)):
                for user_id in _IDS:
                    await load(user_id)

        return read

    figures = await interleaved({name: reading(load) for name, load in subjects.items()}, 9, 30_000)
    table("L1 hit through the decorator", figures, "ns", "bound")


async def misses() -> None:
    """Nanoseconds a miss whose loader returns at once."""
    subjects = {"bound": _bound(), "ours, key template": _ours()["ours, key template"], **_peers()}
    fresh = itertools.count()

    def missing(load: Cached) -> Callable[[int], Awaitable[None]]:
        async def miss(calls: int) -> None:
            for _ in range(calls):
                await load(f"new{next(fresh)}")

        return miss

    figures = await interleaved({name: missing(load) for name, load in subjects.items()}, 7, 3_000)
    table("Miss, loader returns at once", figures, "ns", "bound")


async def stampede() -> None:
    """1000 tasks on one cold key."""
    cache = AsyncHybridCache()
    loads = 0

    @cache.cached("report")
    async def report() -> str:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return "value"

    begun = time.perf_counter()
    await asyncio.gather(*(report() for _ in range(1000)))
    print(f"\nStampede, 1000 tasks, loader of 50 ms: {loads} load, {(time.perf_counter() - begun) * 1000:.0f} ms")


async def memory() -> None:
    """Bytes an entry, key included."""
    count = 100_000
    cache = AsyncHybridCache(options=CacheOptions(lru_max_keys=None))

    @cache.cached("user:{number}", scope="memory")
    async def load(number: int) -> str:
        return "value"

    await load(-1)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(count):
        await load(number)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"\nMemory: {used / count:.0f} bytes an L1 entry, key included")
