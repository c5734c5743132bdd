"""Jitter: entries written together do not expire together."""

from __future__ import annotations

import asyncio
import random

from async_hybrid_cache import AsyncHybridCache, CacheOptions
from tests.unit.core.clock import ManualClock


def test_jitter_only_adds_and_spreads() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        options = CacheOptions(ttl_seconds=10, jitter_seconds=5, fail_safe_seconds=0)
        cache = AsyncHybridCache(clock=clock, rng=random.Random(1), options=options)
        for number in range(200):
            await cache.set(str(number), number)

        async def left() -> int:
            return len([n for n in range(200) if await cache.get(str(n)) is not None])

        clock.advance(9.99)
        assert await left() == 200
        clock.advance(2.5)
        assert 60 < await left() < 140
        clock.advance(2.51)
        assert await left() == 0

    asyncio.run(scenario())


def test_without_jitter_the_ttl_is_exact() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        cache = AsyncHybridCache(clock=clock, options=CacheOptions(ttl_seconds=10))
        await cache.set("k", 1)
        clock.advance(9.999)
        assert await cache.get("k") == 1
        clock.advance(0.001)
        assert await cache.get("k") is None

    asyncio.run(scenario())


def test_zero_seconds_load_every_time() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(ttl_seconds=0))
        count = iter(range(10))

        async def load() -> int:
            return next(count)

        assert [await cache.get_or_set("k", load) for _ in range(3)] == [0, 1, 2]

    asyncio.run(scenario())
