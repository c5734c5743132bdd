"""A cache whose L1 is kept over restarts, on a log in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from async_hybrid_cache import AsyncHybridCache, InvalidationBus, StreamOptions
from async_hybrid_cache.stats import SnapshotStats
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.scripted_log import ScriptedLog

__all__ = ["Counting", "keep", "new_cache", "snapshot_of"]


def new_cache(log: Callable[[], ScriptedLog], folder: Path, **arguments: Any) -> AsyncHybridCache:
    """One more process, as it were: a cache of its own on this log, with its snapshots in `folder`."""
    bus = InvalidationBus(log, StreamOptions(retry_max_seconds=0.05))
    return AsyncHybridCache(invalidation_bus=bus, snapshot=folder / "l1", **arguments)


def snapshot_of(cache: AsyncHybridCache) -> SnapshotStats:
    """What became of its snapshots."""
    stats = cache.stats().snapshot
    assert stats is not None
    return stats


async def keep(cache: AsyncHybridCache, key: str, value: Any, *, scope: str = "default") -> None:
    """Set a value, and wait for its event: a replay from before that would drop it."""
    position = (await cache.set(key, value, scope=scope)).position
    stream = cache._stream
    assert position is not None
    assert stream is not None
    await eventually(lambda: stream.reader.applied >= position)


class Counting:
    """A loader of `value` that counts."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.calls = 0

    async def __call__(self) -> Any:
        self.calls += 1
        return self.value
