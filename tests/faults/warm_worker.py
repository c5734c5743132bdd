"""A process whose L1 is kept over restarts: reads every key of a database, again and again, and tells what it saw.

Each pass answers one line of standard input with a line of JSON. It ends in good order with its input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from async_hybrid_cache import AsyncHybridCache, CacheOptions
from async_hybrid_cache.registry import find_broker

from .versions import Versions

_AT_ONCE = 500


class Reader:
    """Reads through one cache, and judges each value by what was announced before this process started."""

    def __init__(self, cache: AsyncHybridCache, versions: Versions) -> None:
        self._cache = cache
        self._versions = versions
        self._announced = list(versions.announced)
        self.loads = 0
        self.stale = 0

    async def read(self, number: int) -> int:
        """The version of one key."""
        version: int = await self._cache.get_or_set(str(number), partial(self._load, number))
        self.stale += version < self._announced[number]
        return version

    async def read_all(self) -> dict[str, Any]:
        """One pass over all keys."""
        began, behind, self.loads, self.stale = monotonic(), 0, 0, 0
        count = len(self._announced)
        for first in range(0, count, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, count))
            found = await asyncio.gather(*map(self.read, numbers))
            behind += sum(version < self._versions.current[n] for n, version in zip(numbers, found, strict=True))
        snapshot = self._cache.stats().snapshot
        assert snapshot is not None
        return {
            "loads": self.loads,
            "stale": self.stale,
            "behind": behind,
            "seconds": monotonic() - began,
            "restored": snapshot.restored,
            "written": snapshot.written,
            "failures": snapshot.failures,
            "thrown_away": snapshot.thrown_away,
            "why": snapshot.last_thrown_away,
        }

    async def _load(self, number: int) -> int:
        self.loads += 1
        version = self._versions.current[number]
        await asyncio.sleep(0)
        return version


def new_cache(url: str, namespace: str, **arguments: Any) -> AsyncHybridCache:
    """A cache without an L2, which would hide who is cold, with room for every key."""
    return AsyncHybridCache(
        invalidation_bus=find_broker(url).bus(url, namespace=namespace, stream=None),
        options=CacheOptions(ttl_seconds=600, lru_max_keys=None),
        **arguments,
    )


async def main(url: str, namespace: str, database: str, count: str, path: str, seconds: str) -> None:
    with Versions(Path(database), int(count)) as versions:
        cache = new_cache(url, namespace, snapshot=path, snapshot_seconds=float(seconds))
        reader = Reader(cache, versions)
        began = monotonic()
        async with cache:
            print(json.dumps({"started": monotonic() - began}), flush=True)
            lines = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
            while await lines.readline():
                print(json.dumps(await reader.read_all()), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
