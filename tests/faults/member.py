"""One instance of the service under test: a cache, and the database behind it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from functools import partial
from time import monotonic

import msgspec

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.filecheckpoint import FileCheckpointStore
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.stats import CacheStats

from .database import Database

__all__ = ["Browsed", "Change", "Member", "new_cache"]

_PAUSE_SECONDS = 0.002


class Change(msgspec.Struct, frozen=True):
    """What a `remove` came to, and how long it took."""

    queued: bool
    seconds: float


class Browsed(msgspec.Struct, frozen=True):
    """Reads done in the background, what they raised, and the longest that one took."""

    reads: int
    errors: list[str]
    longest_seconds: float


class Member:
    """Reads and writes through one cache, alone or in the background."""

    def __init__(self, cache: AsyncHybridCache, database: Database) -> None:
        self.cache = cache
        self._database = database
        self._browsing: asyncio.Task[Browsed] | None = None
        self._resting = asyncio.Event()

    async def read(self, key: str) -> int | None:
        """The version of `key` that this instance serves."""
        return await self.cache.get_or_set(key, partial(self._load, key))

    async def read_all(self, keys: Sequence[str]) -> list[int | None]:
        """The versions of `keys`, read at once."""
        return await asyncio.gather(*map(self.read, keys))

    async def remove(self, *keys: str) -> Change:
        """Remove `keys`, whose data has changed."""
        began = monotonic()
        receipt = await self.cache.remove(*keys)
        return Change(receipt.queued, monotonic() - began)

    async def write(self, key: str) -> Change:
        """Change `key` in the database, then remove it here and everywhere."""
        self._database.write(key)
        return await self.remove(key)

    async def stats(self) -> CacheStats:
        """What the cache counted."""
        return self.cache.stats()

    async def browse(self, keys: Sequence[str]) -> None:
        """Read `keys` in the background, one after the other, until `rest`."""
        self._resting = asyncio.Event()
        self._browsing = asyncio.create_task(self._browse(keys))

    async def rest(self) -> Browsed:
        """End `browse`."""
        assert self._browsing is not None
        self._resting.set()
        return await self._browsing

    async def _browse(self, keys: Sequence[str]) -> Browsed:
        errors: list[str] = []
        reads, longest = 0, 0.0
        for key in itertools.cycle(keys):
            if self._resting.is_set():
                break
            began = monotonic()
            try:
                await self.read(key)
            except Exception as error:
                errors.append(repr(error))
            reads += 1
            longest = max(longest, monotonic() - began)
            await asyncio.sleep(_PAUSE_SECONDS)
        return Browsed(reads, errors, longest)

    async def _load(self, key: str) -> int | None:
        version = self._database.read(key)
        await asyncio.sleep(0)
        return version


def new_cache(url: str, namespace: str, instance_id: str | None = None, folder: str | None = None) -> AsyncHybridCache:
    """A cache at shipped defaults; with `instance_id`, one that keeps its checkpoints in `folder`."""
    if instance_id is None or folder is None:
        return AsyncHybridCache.from_url(url, namespace=namespace)
    broker = find_broker(url)
    stream = StreamOptions(instance_id=instance_id, checkpoints=FileCheckpointStore(folder))
    return AsyncHybridCache(
        distributed_cache=broker.distributed_cache(url, namespace=namespace),
        invalidation_bus=broker.bus(url, namespace=namespace, stream=stream),
    )
