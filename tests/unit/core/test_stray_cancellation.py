"""A `CancelledError` that nobody asked for is a failure like any other: no listener dies of it, and no reader."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from async_hybrid_cache import AsyncHybridCache, InvalidationBus
from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store


class Cancelling(ScriptedLog):
    """Raises once from `call`, as a client library does whose own task was cancelled."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.call = ""

    def _stray(self, call: str) -> None:
        if self.call == call:
            self.call = ""
            raise asyncio.CancelledError

    async def append(self, record: bytes, id: str) -> Position:
        self._stray("append")
        return await super().append(record, id)

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        self._stray("read")
        return await super().read(start, limit, wait)


@pytest.mark.parametrize("call", ["append", "read"])
def test_the_stream_goes_on(call: str) -> None:
    async def scenario() -> None:
        name = f"stray-{call}"
        log = Cancelling(name)
        one = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: log))
        two = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: ScriptedLog(name)))
        async with one, two:
            log.call = call
            await eventually(lambda: one.remove("k") if log.call else True, message="the call was never made")
            await two.set("k", "mine")
            await one.remove("k")
            await eventually(lambda: two.stats().entries == 0, message="the event of one never reached two")
            await two.remove("k")
            await eventually(lambda: one.stats().stream.position == two.stats().stream.position)
            await eventually(lambda: one.health().status == "ok")
            assert one.stats().stream.reconnects == 1

    asyncio.run(scenario())


def test_a_read_and_the_maintenance_survive_one_from_l2() -> None:
    async def scenario() -> None:
        l2 = SharedMemory(Store())

        async def stray() -> None:
            raise asyncio.CancelledError

        async def load() -> int:
            return 1

        async with AsyncHybridCache(distributed_cache=l2) as cache:
            l2.before["get"] = stray
            assert await cache.get_or_set("k", load) == 1
            assert cache.stats().distributed.state == "down"
            assert cache.stats().distributed.down_seconds is not None
            assert "away for" in cache.health().reasons[0]
            l2.before["get"] = stray  # now in the maintenance task, which probes
            await eventually(lambda: cache.stats().distributed.state == "up")
            assert await cache.get_or_set("other", load) == 1

    asyncio.run(scenario())
