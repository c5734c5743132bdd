"""Several instances on one log, and the question that all of these tests ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

from async_hybrid_cache.stats import CacheStats, StreamStats
from async_hybrid_cache.testing.waiting import eventually

from .database import Database
from .member import Member, new_cache
from .places import Place
from .process import Process

__all__ = [
    "FRESH_SECONDS",
    "Instance",
    "counted",
    "fresh_everywhere",
    "gaps",
    "member",
    "members",
    "stream_of",
    "write_all",
]

Instance = Member | Process

FRESH_SECONDS = 2.0
"""Promise 1: within this time of the log being reachable, every instance has applied what was acknowledged."""


@asynccontextmanager
async def member(place: Place, database: Database, url: str | None = None) -> AsyncIterator[Member]:
    """An instance in this process, with connections of its own; through `url` where one is given."""
    cache = new_cache(url or place.url, place.namespace)
    async with cache:
        yield Member(cache, database)


@asynccontextmanager
async def members(place: Place, database: Database, count: int) -> AsyncIterator[list[Member]]:
    """Several of them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(member(place, database)) for _ in range(count)]


async def fresh_everywhere(
    database: Database, instances: Sequence[Instance], keys: Sequence[str], since: float, within: float = FRESH_SECONDS
) -> float:
    """Seconds after `since` until every instance serves what the database holds; nothing older comes back then."""
    expected = database.read_all(keys)

    async def stale() -> list[tuple[int, str, int | None, int | None]]:
        served = await asyncio.gather(*(instance.read_all(keys) for instance in instances))
        return [
            (number, key, version, truth)
            for number, versions in enumerate(served)
            for key, version, truth in zip(keys, versions, expected, strict=True)
            if version != truth
        ]

    async def fresh() -> bool:
        return not await stale()

    try:
        await eventually(fresh, timeout=max(0.0, since + within - monotonic()), message="not fresh everywhere")
    except AssertionError as error:
        stats = [await instance.stats() for instance in instances]
        raise AssertionError(f"{error}; stale: {(await stale())[:5]}; {stats}") from None
    seconds = monotonic() - since
    assert not await stale(), "a stale value came back"
    return seconds


async def write_all(instance: Instance, keys: Sequence[str]) -> None:
    """Write each key at `instance`, one after the other."""
    for key in keys:
        await instance.write(key)


async def gaps(instances: Sequence[Instance]) -> list[int]:
    """How many gaps each has counted."""
    return [stream_of(await instance.stats()).gap_total for instance in instances]


async def counted(instances: Sequence[Instance], count: int, since: float, within: float = FRESH_SECONDS) -> float:
    """Seconds after `since` until every instance has counted `count` gaps."""

    async def all_have() -> bool:
        return await gaps(instances) == [count] * len(instances)

    timeout = max(0.0, since + within - monotonic())
    await eventually(all_have, timeout=timeout, message=f"not every instance counted {count} gaps")
    return monotonic() - since


def stream_of(stats: CacheStats) -> StreamStats:
    """The stream's part of `stats`."""
    assert stats.stream is not None
    return stats.stream
