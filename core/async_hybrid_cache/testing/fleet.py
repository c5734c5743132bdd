"""Several caches at shipped defaults on one log, and the database that they cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from time import monotonic

from async_hybrid_cache.bus import InvalidationBus
from async_hybrid_cache.cache import AsyncHybridCache
from async_hybrid_cache.errors import LogUnavailable
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.options import CacheOptions
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.receipt import Receipt
from async_hybrid_cache.stats import StreamStats
from async_hybrid_cache.testing.waiting import eventually

__all__ = ["FRESH_SECONDS", "CuttableLog", "Fleet", "Instance", "fleet"]

FRESH_SECONDS = 2.0
"""Within this time of the log being reachable every instance has applied what was acknowledged, or reset its L1."""


class Instance:
    """One cache, without an L2, and the database behind it."""

    def __init__(self, cache: AsyncHybridCache, database: dict[str, int]) -> None:
        self.cache = cache
        self._database = database
        self.loads = 0

    @property
    def stream(self) -> StreamStats:
        """What the stream counted."""
        stats = self.cache.stats().stream
        assert stats is not None
        return stats

    async def read(self, key: str, at_least: Receipt | None = None) -> int | None:
        """The version of `key` that this instance serves."""
        found: int | None = await self.cache.get_or_set(key, partial(self._load, key), at_least=at_least)
        return found

    async def write(self, key: str) -> Receipt:
        """Change `key` in the database, then remove it here and everywhere."""
        self._database[key] = self._database.get(key, 0) + 1
        return await self.cache.remove(key)

    async def _load(self, key: str) -> int | None:
        self.loads += 1
        version = self._database.get(key)
        await asyncio.sleep(0)
        return version


class Fleet:
    """Instances that cache one database."""

    def __init__(self, instances: Sequence[Instance], database: dict[str, int]) -> None:
        self.instances = instances
        self._database = database

    async def write_all(self, keys: Sequence[str], by: Sequence[Instance] | None = None) -> None:
        """Write each key at one of the instances, in turn."""
        writers = by or self.instances
        for number, key in enumerate(keys):
            await writers[number % len(writers)].write(key)

    async def fresh(self, keys: Sequence[str], of: Sequence[Instance] | None = None) -> None:
        """Wait until every instance serves what the database holds; nothing older may come back then."""
        instances = of or self.instances

        async def stale() -> list[tuple[int, str]]:
            return [
                (number, key)
                for number, instance in enumerate(instances)
                for key in keys
                if await instance.read(key) != self._database.get(key)
            ]

        deadline = monotonic() + FRESH_SECONDS
        while found := await stale():
            streams = [instance.stream for instance in instances]
            assert monotonic() < deadline, f"stale at (instance, key): {found[:5]}; {streams}"
            await asyncio.sleep(0.005)
        assert not await stale(), "a stale value came back"

    async def counted(self, gaps: Sequence[int]) -> None:
        """Wait until each instance has counted so many gaps."""

        def so_many() -> bool:
            return [instance.stream.gap_total for instance in self.instances] == list(gaps)

        await eventually(so_many, timeout=FRESH_SECONDS, message=f"the gaps are not {list(gaps)}: {self.streams()}")

    async def works(self, tag: str) -> None:
        """Every instance can remove for all of them, and nobody counts a gap over it.

        The first removal after a new epoch may find out about it, and go out a little later; the next may not.
        """

        def reached() -> bool:
            return all(stream.down_seconds is None and not stream.outbox for stream in self.streams())

        before = [stream.gap_total for stream in self.streams()]
        for turn in range(2):
            keys = [f"{tag}-{turn}-{number}" for number in range(len(self.instances))]
            await self.fresh(keys)
            receipts = [await one.write(key) for key, one in zip(keys, self.instances, strict=True)]
            assert turn == 0 or not any(receipt.queued for receipt in receipts), self.streams()
            await self.fresh(keys)
            await eventually(reached, timeout=FRESH_SECONDS, message="the log is not reached again")
        assert [stream.gap_total for stream in self.streams()] == before

    def streams(self) -> list[StreamStats]:
        """What each stream counted, for messages."""
        return [instance.stream for instance in self.instances]


@asynccontextmanager
async def fleet(*logs: Callable[[], EventLog], options: CacheOptions | None = None) -> AsyncIterator[Fleet]:
    """An instance for each, whose handles it makes."""
    database: dict[str, int] = {}
    async with AsyncExitStack() as stack:
        instances = []
        for new_log in logs:
            cache = AsyncHybridCache(invalidation_bus=InvalidationBus(new_log), options=options)
            await stack.enter_async_context(cache)
            instances.append(Instance(cache, database))
        yield Fleet(instances, database)


class CuttableLog:
    """A log that one instance alone loses sight of, whatever carries it."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._cut = False

    def cut(self) -> None:
        """Let nothing through, and nothing of what is under way."""
        self._cut = True

    def heal(self) -> None:
        """Let everything through again."""
        self._cut = False

    async def open(self) -> None:
        self._check()
        await self._log.open()

    async def close(self) -> None:
        await self._log.close()

    async def append(self, record: bytes, id: str) -> Position:
        self._check()
        position = await self._log.append(record, id)
        self._check()
        return position

    async def bounds(self) -> Bounds:
        self._check()
        bounds = await self._log.bounds()
        self._check()
        return bounds

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        self._check()
        records = await self._log.read(start, limit, wait)
        self._check()
        return records

    async def renew(self, above: int) -> None:
        self._check()
        await self._log.renew(above)

    def _check(self) -> None:
        if self._cut:
            raise LogUnavailable("this instance is cut off")
