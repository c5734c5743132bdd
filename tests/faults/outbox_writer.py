"""A process that removes key after key with its outbox on disk, and says each whose `remove` returned."""

from __future__ import annotations

import asyncio
import itertools
import sys

from async_hybrid_cache import AsyncHybridCache, StreamOptions
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.waiting import eventually

__all__ = ["new_cache"]

_AT_ONCE = 4


def new_cache(url: str, namespace: str, folder: str, *, l2: bool) -> AsyncHybridCache:
    """One of several processes of one name that share a folder."""
    broker = find_broker(url)
    stream = StreamOptions(instance_id="writer", outbox=folder)
    return AsyncHybridCache(
        distributed_cache=broker.distributed_cache(url, namespace=namespace) if l2 else None,
        invalidation_bus=broker.bus(url, namespace=namespace, stream=stream),
    )


async def write(cache: AsyncHybridCache, prefix: str) -> None:
    """Until killed."""
    for number in itertools.count():
        key = f"{prefix}-{number}"
        await cache.remove(key)
        print(key, flush=True)


async def main(url: str, namespace: str, folder: str, name: str, l2: str) -> None:
    async with new_cache(url, namespace, folder, l2=bool(l2)) as cache:
        if not name:
            # nothing new: only what others left
            await eventually(lambda: _done(cache), timeout=20)
            return
        await asyncio.gather(*(write(cache, f"{name}-{number}") for number in range(_AT_ONCE)))


def _done(cache: AsyncHybridCache) -> bool:
    stats = cache.stats()
    return stats.stream is not None and not stats.stream.outbox and not stats.distributed.late_deletes


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
