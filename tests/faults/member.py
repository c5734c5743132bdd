"""One instance of the service under test: a cache, and the database behind it."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Sequence
from functools import partial
from time import monotonic

import msgspec

from async_hybrid_cache import AsyncHybridCache, CacheOptions
from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.filecheckpoint import FileCheckpointStore
from async_hybrid_cache.stats import CacheStats

from .database import Database
from .plain import PLAIN, new_plain_cache
from .tape import Heard, Tape

__all__ = ["Browsed", "Change", "Member", "Written", "new_cache"]

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


class Written(msgspec.Struct, frozen=True):
    """A write done in the background, under a number of its own: when it began, how long it took, what it raised."""

    at: float
    seconds: float
    queued: bool
    error: str | None = None


class Member:
    """Reads and writes through one cache, alone or in the background."""

    def __init__(self, cache: AsyncHybridCache, database: Database) -> None:
        self.cache = cache
        self._database = database
        self._browsing: asyncio.Task[Browsed] | None = None
        self._resting = asyncio.Event()
        self._writing: asyncio.Task[list[Written]] | None = None
        self._written = asyncio.Event()
        self._tape: Tape | None = None

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

    async def write_on(self, name: str, keys: Sequence[str], pause: float) -> None:
        """Write `keys` in the background, one after the other, until `written`; the n-th also removes `name#n`."""
        self._written = asyncio.Event()
        self._writing = asyncio.create_task(self._write_on(name, keys, pause))

    async def written(self) -> list[Written]:
        """End `write_on`; what it did, in order."""
        assert self._writing is not None
        self._written.set()
        return await self._writing

    async def listen(self) -> None:
        """Note from now on which numbered writes are applied here, and when."""
        self._tape = Tape(self.cache)

    async def heard(self) -> list[Heard]:
        """What was noted, in the order in which it was applied."""
        assert self._tape is not None
        return self._tape.heard

    async def _write_on(self, name: str, keys: Sequence[str], pause: float) -> list[Written]:
        done: list[Written] = []
        for number, key in enumerate(itertools.cycle(keys)):
            if self._written.is_set():
                break
            self._database.write(key)
            began = monotonic()
            try:
                change = await self.remove(key, f"{name}#{number}")
                done.append(Written(began, change.seconds, change.queued))
            except Exception as error:
                done.append(Written(began, monotonic() - began, False, repr(error)))
            await asyncio.sleep(pause)
        return done

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


def new_cache(
    url: str, namespace: str, instance_id: str | None = None, folder: str | None = None, bound: float | None = None
) -> AsyncHybridCache:
    """A cache at shipped defaults, or bounded to `bound` seconds of staleness.

    With `instance_id`, one that keeps its checkpoints in `folder`.
    """
    if url.startswith(PLAIN):
        return new_plain_cache(url, namespace)
    options = None if bound is None else CacheOptions(max_staleness_seconds=None if math.isinf(bound) else bound)
    if instance_id is None or folder is None:
        return AsyncHybridCache.from_url(url, namespace=namespace, options=options)
    stream = StreamOptions(instance_id=instance_id, checkpoints=FileCheckpointStore(folder))
    return AsyncHybridCache.from_url(url, namespace=namespace, options=options, stream=stream)
