"""Every call of an `EventLog` may be cancelled at any await."""

from __future__ import annotations

import asyncio
import random

import pytest

from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.testing.log_calls import ids_of, read_all
from async_hybrid_cache.testing.log_world import LogWorld
from async_hybrid_cache.testing.waiting import cancelled_somewhere
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["LogCancellation"]

CALLS = 150
seeds = pytest.mark.parametrize("seed", [1, 2, 3])


class LogCancellation:
    """Cancelled calls leave the log usable, contiguous and truthful.

    The log is opened again after each, as the stream does after a call that it gave up.
    """

    @seeds
    @scenario
    async def test_cancelled_appends(self, world: LogWorld, seed: int) -> None:
        rng = random.Random(seed)
        log = await world.opened()
        acknowledged: dict[str, Position] = {}
        for number in range(CALLS):
            position = await cancelled_somewhere(log.append(b"data", f"id-{number}"), rng)
            if position is None:
                await log.open()
            else:
                acknowledged[f"id-{number}"] = position
        assert len(acknowledged) < CALLS, "nothing was cancelled in time"
        acknowledged["last"] = await log.append(b"data", "last")
        records = await read_all(log)
        held = {record.position: record for record in records}
        assert [held[position].id for position in acknowledged.values()] == list(acknowledged)
        assert all(record.data == b"data" for record in records)

    @seeds
    @scenario
    async def test_cancelled_appends_are_settled_by_a_repeat(self, world: LogWorld, seed: int) -> None:
        rng = random.Random(seed)
        log = await world.opened()
        for number in range(CALLS):
            if await cancelled_somewhere(log.append(b"data", f"id-{number}"), rng) is None:
                await log.open()
                await log.append(b"data", f"id-{number}")
        assert ids_of(await read_all(log)) == [f"id-{number}" for number in range(CALLS)]

    @seeds
    @scenario
    async def test_cancelled_reads(self, world: LogWorld, seed: int) -> None:
        rng = random.Random(seed)
        log = await world.opened()
        epoch = (await log.bounds()).epoch
        seen: list[Record] = []
        cancelled = 0
        for number in range(CALLS):
            start = Position(epoch, len(seen) + 1)
            reading = cancelled_somewhere(log.read(start, 10, 5), rng)
            records, _ = await asyncio.gather(reading, log.append(b"", f"id-{number}"))
            if records is None:
                cancelled += 1
                await log.open()
                records = await log.read(start, 10, 5)
            seen += records
        assert cancelled, "nothing was cancelled in time"
        assert ids_of(seen) == [f"id-{number}" for number in range(CALLS)]

    @seeds
    @scenario
    async def test_cancelled_opens(self, world: LogWorld, seed: int) -> None:
        rng = random.Random(seed)
        log = await world.opened()
        position = await log.append(b"", "kept")
        for _ in range(CALLS // 5):
            await cancelled_somewhere(log.open(), rng)
        await log.open()
        assert list(await log.read(position, 10, 0)) == [Record(position, "kept", b"")]

    @seeds
    @scenario
    async def test_cancelled_renews(self, world: LogWorld, seed: int) -> None:
        rng = random.Random(seed)
        log, other = await world.opened(), await world.opened()
        epoch = (await log.bounds()).epoch
        for number in range(CALLS // 10):
            await cancelled_somewhere(log.renew(epoch), rng)
            await log.open()
            await log.renew(epoch)
            position = await log.append(b"data", f"id-{number}")
            assert position.epoch > epoch
            epoch = position.epoch
            await other.open()
            assert ids_of(await read_all(other)) == [f"id-{number}"]
