"""An instance whose log answers when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.bus import InvalidationBus
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.registry import find_broker

from .places import Place

__all__ = ["Gate", "gated"]


class Gate:
    """A log whose answers are held back; what is sent to it arrives."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._appends = asyncio.Event()
        self._reads = asyncio.Event()
        self.release()

    def hold_appends(self) -> None:
        """Acknowledge nothing from now on."""
        self._appends.clear()

    def hold(self) -> None:
        """Neither acknowledge nor tell anything from now on."""
        self._appends.clear()
        self._reads.clear()

    def release(self) -> None:
        """Let through what waited."""
        self._appends.set()
        self._reads.set()

    async def open(self) -> None:
        await self._log.open()

    async def close(self) -> None:
        await self._log.close()

    async def append(self, record: bytes, id: str) -> Position:
        position = await self._log.append(record, id)
        await self._appends.wait()
        return position

    async def bounds(self) -> Bounds:
        bounds = await self._log.bounds()
        await self._reads.wait()
        return bounds

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        records = await self._log.read(start, limit, wait)
        await self._reads.wait()
        return records

    async def renew(self, above: int) -> None:
        await self._log.renew(above)


@asynccontextmanager
async def gated(place: Place, **arguments: Any) -> AsyncIterator[tuple[AsyncHybridCache, Gate]]:
    """A started cache on `place`, L2 included where there is one, and its gate."""
    broker = find_broker(place.url)
    gate = Gate(broker.bus(place.url, namespace=place.namespace, stream=None).new_log())
    arguments.setdefault("distributed_cache", broker.distributed_cache(place.url, namespace=place.namespace))
    async with AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: gate), **arguments) as cache:
        yield cache, gate
