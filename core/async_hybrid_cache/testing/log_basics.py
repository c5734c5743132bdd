"""Opening, appending and reading."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from async_hybrid_cache.errors import LogRefused, PositionLost
from async_hybrid_cache.log import RECORD_MAX_BYTES
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.testing.log_calls import append_many, ids_of, read_all
from async_hybrid_cache.testing.log_world import LogWorld
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["LogBasics"]


class LogBasics:
    """What one caller at a time sees of a healthy log."""

    @scenario
    async def test_open_creates_an_empty_log_with_an_epoch(self, world: LogWorld) -> None:
        log = await world.opened()
        epoch, first, last = await log.bounds()
        assert epoch > 0
        assert (first, last) == (1, 0)

    @scenario
    async def test_open_on_an_open_log_keeps_everything(self, world: LogWorld) -> None:
        log = await world.opened()
        position = await log.append(b"kept", "id")
        await log.open()
        assert await log.bounds() == Bounds(position.epoch, 1, 1)
        assert list(await log.read(position, 10, 0)) == [Record(position, "id", b"kept")]

    @scenario
    async def test_close_may_be_called_at_any_time_and_again(self, world: LogWorld) -> None:
        log = world.handle()
        await log.close()
        await log.open()
        await log.close()
        await log.close()

    def test_a_handle_opens_again_in_another_loop(self, world: LogWorld) -> None:
        log = world.handle()

        async def append(id: str) -> Position:
            await log.open()
            try:
                return await log.append(b"data", id)
            finally:
                await log.close()

        async def check(positions: list[Position]) -> None:
            async with world:
                await log.open()
                assert [record.position for record in await read_all(log)] == positions

        positions = [asyncio.run(append(id)) for id in ("first", "second", "third")]
        asyncio.run(check(positions))

    @scenario
    async def test_offsets_are_dense_from_one(self, world: LogWorld) -> None:
        log = await world.opened()
        epoch = (await log.bounds()).epoch
        positions = await append_many(log, [f"id-{n}" for n in range(20)])
        assert positions == [Position(epoch, n) for n in range(1, 21)]
        assert await log.bounds() == Bounds(epoch, 1, 20)

    @scenario
    async def test_a_read_is_inclusive_and_in_order(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        payloads = {"empty": b"", "binary": bytes(range(256)), "unicode:ключ 🔑": "значение".encode()}
        positions = [await log.append(data, id) for id, data in payloads.items()]
        expected = [Record(p, id, data) for p, (id, data) in zip(positions, payloads.items(), strict=True)]
        for start in (0, 1, 2, 0):
            assert list(await other.read(positions[start], 10, 0)) == expected[start:]

    @scenario
    async def test_a_read_returns_at_most_its_limit(self, world: LogWorld) -> None:
        log = await world.opened()
        positions = await append_many(log, [f"id-{n}" for n in range(7)])
        assert [r.position for r in await log.read(positions[2], 3, 0)] == positions[2:5]
        assert [r.position for r in await log.read(positions[5], 3, 5)] == positions[5:]

    @scenario
    async def test_a_read_at_the_head_returns_nothing_after_its_wait(self, world: LogWorld) -> None:
        log = await world.opened()
        for offset in (1, 2):
            start = Position((await log.bounds()).epoch, offset)
            for wait in (0, 0.2):
                began = monotonic()
                assert list(await log.read(start, 10, wait)) == []
                assert wait * 0.9 <= monotonic() - began < wait + 1
            await log.append(b"", f"id-{offset}")

    @scenario
    async def test_a_start_past_the_next_record_is_lost(self, world: LogWorld) -> None:
        log = await world.opened()
        epoch = (await log.bounds()).epoch
        for last in range(2):
            with pytest.raises(PositionLost):
                await log.read(Position(epoch, last + 2), 10, 0.2)
            await log.append(b"", f"id-{last}")

    @scenario
    async def test_a_start_of_another_epoch_is_lost(self, world: LogWorld) -> None:
        log = await world.opened()
        position = await log.append(b"", "id")
        for epoch in (position.epoch - 1, position.epoch + 1):
            for offset in (1, 2):
                with pytest.raises(PositionLost):
                    await log.read(Position(epoch, offset), 10, 0.2)

    @scenario
    async def test_an_id_appended_again_does_no_harm(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        first = await log.append(b"sealed", "repeated")
        again = await log.append(b"sealed", "repeated")
        await log.append(b"between", "between")
        elsewhere = await other.append(b"sealed", "repeated")
        records = {record.position: record for record in await read_all(other)}
        for position in (first, again, elsewhere):
            assert records[position][1:] == ("repeated", b"sealed")
        assert {record[1:] for record in records.values()} == {("repeated", b"sealed"), ("between", b"between")}

    @scenario
    async def test_a_record_of_the_largest_size_is_taken(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        data = bytes(range(250)) * (RECORD_MAX_BYTES // 250)
        assert len(data) == RECORD_MAX_BYTES
        positions = [await log.append(data, id) for id in ("large", "i" * 200)]
        records = [record for position in positions for record in await other.read(position, 1, 1)]
        assert records == [Record(positions[0], "large", data), Record(positions[1], "i" * 200, data)]

    @scenario
    async def test_a_larger_record_is_refused_and_the_log_stays_usable(self, world: LogWorld) -> None:
        log = await world.opened()
        before = await log.append(b"before", "before")
        for size in (RECORD_MAX_BYTES + 1, 2 * RECORD_MAX_BYTES):
            with pytest.raises(LogRefused):
                await log.append(bytes(size), "too large")
        assert await log.append(b"after", "after") == before._replace(offset=before.offset + 1)
        assert ids_of(await read_all(log)) == ["before", "after"]
