"""What every `EventLog` does, whatever carries it. Each broker inherits this, with a `world` fixture."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any, TypeVar

import pytest

from async_hybrid_cache.errors import PositionLost
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.testing.worlds import LogWorld, scenario

__all__ = ["DeletableLogContract", "LogContract", "read_all"]

T = TypeVar("T")


async def append_many(log: EventLog, ids: Sequence[str]) -> list[Position]:
    """Append one record an id, each with the id as its data, one after the other."""
    return [await log.append(id.encode(), id) for id in ids]


async def read_all(log: EventLog, limit: int = 1000) -> list[Record]:
    """Everything the log holds now, read in steps of at most `limit`."""
    epoch, first, last = await log.bounds()
    records: list[Record] = []
    while first + len(records) <= last:
        step = await log.read(Position(epoch, first + len(records)), limit, 1.0)
        assert 0 < len(step) <= limit
        records += step
    assert [r.position for r in records] == [Position(epoch, first + i) for i in range(len(records))]
    return records


async def waiting(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """`call` as a task, which must be waiting for something by now."""
    task = asyncio.create_task(call)
    done, _ = await asyncio.wait({task}, timeout=0.03)
    assert not done, f"did not wait: {task}"
    return task


async def read_for_ever(log: EventLog, start: Position) -> None:
    """Wait at `start`, as a stream does that is caught up."""
    while True:
        await log.read(start, 10, 0.5)


class LogContract:
    """The contract of `EventLog`."""

    recognises_repeats = True
    """Whether an acknowledged id that is appended again, by anybody, gets its first position."""

    @scenario
    async def test_open_creates_an_empty_log_with_an_epoch(self, world: LogWorld) -> None:
        log = await world.opened()
        epoch, first, last = await log.bounds()
        assert epoch > 0
        assert (first, last) == (1, 0)

    @scenario
    async def test_many_that_open_a_missing_log_at_once_share_one_epoch(self, world: LogWorld) -> None:
        logs = [world.handle() for _ in range(8)]
        await asyncio.gather(*(log.open() for log in logs))
        assert len({await log.bounds() for log in logs}) == 1
        for number, log in enumerate(logs, 1):
            assert (await log.append(b"", f"id-{number}")).offset == number

    @scenario
    async def test_open_on_an_open_log_keeps_everything(self, world: LogWorld) -> None:
        log = await world.opened()
        position = await log.append(b"kept", "id")
        await log.open()
        assert await log.bounds() == Bounds(position.epoch, 1, 1)
        assert await log.read(position, 10, 0) == [Record(position, "id", b"kept")]

    @scenario
    async def test_close_may_be_called_at_any_time_and_again(self, world: LogWorld) -> None:
        log = world.handle()
        await log.close()
        await log.open()
        await log.close()
        await log.close()

    @scenario
    async def test_offsets_are_dense_from_one(self, world: LogWorld) -> None:
        log = await world.opened()
        epoch = (await log.bounds()).epoch
        positions = await append_many(log, [f"id-{n}" for n in range(20)])
        assert positions == [Position(epoch, n) for n in range(1, 21)]
        assert await log.bounds() == Bounds(epoch, 1, 20)

    @scenario
    async def test_read_is_inclusive_ordered_and_gives_back_id_and_data(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        payloads = {"empty": b"", "binary": bytes(range(256)), "unicode:ключ 🔑": "значение".encode()}
        positions = [await log.append(data, id) for id, data in payloads.items()]
        expected = [Record(p, id, data) for p, (id, data) in zip(positions, payloads.items(), strict=True)]
        for start in range(3):
            assert list(await other.read(positions[start], 10, 0)) == expected[start:]

    @scenario
    async def test_read_returns_at_most_limit(self, world: LogWorld) -> None:
        log = await world.opened()
        positions = await append_many(log, [f"id-{n}" for n in range(7)])
        assert [r.position for r in await log.read(positions[2], 3, 0)] == positions[2:5]
        assert [r.position for r in await log.read(positions[5], 3, 5)] == positions[5:]

    @scenario
    async def test_read_at_the_head_returns_nothing_after_wait(self, world: LogWorld) -> None:
        log = await world.opened()
        for offset in (1, 2):
            start = Position((await log.bounds()).epoch, offset)
            for wait in (0, 0.2):
                began = monotonic()
                assert list(await log.read(start, 10, wait)) == []
                assert wait * 0.9 <= monotonic() - began < wait + 1
            await log.append(b"", f"id-{offset}")

    @scenario
    async def test_a_waiting_reader_is_woken_by_another_handle(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        start = Position((await log.bounds()).epoch, 1)
        rounds = 20
        seconds = 0.0
        for number in range(rounds):
            reader = await waiting(log.read(start._replace(offset=number + 1), 10, 10))
            began = monotonic()
            await other.append(b"", f"id-{number}")
            assert [record.id for record in await reader] == [f"id-{number}"]
            seconds += monotonic() - began
        assert seconds < rounds * 0.05

    @scenario
    async def test_a_start_beyond_the_next_record_is_lost(self, world: LogWorld) -> None:
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
    async def test_a_trimmed_start_is_lost_and_bounds_tell_what_is_left(self, world: LogWorld) -> None:
        world.retention_records = 10
        log = await world.opened()
        positions = await append_many(log, [f"id-{n}" for n in range(500)])
        epoch, first, last = await log.bounds()
        assert (epoch, last) == positions[-1]
        assert 1 < first <= last - 9, "more was trimmed than retention allows, or nothing"
        for offset in (1, first - 1):
            with pytest.raises(PositionLost):
                await log.read(Position(epoch, offset), 10, 0.2)
        assert [record.id for record in await read_all(log)] == [f"id-{n}" for n in range(first - 1, 500)]
        assert list(await log.read(Position(epoch, last + 1), 10, 0)) == []

    @scenario
    async def test_a_repeated_id_does_no_harm(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        first = await log.append(b"sealed", "repeated")
        second = await log.append(b"sealed", "repeated")
        await log.append(b"between", "between")
        third = await other.append(b"sealed", "repeated")
        if self.recognises_repeats:
            assert second == third == first
        records = await read_all(other)
        by_position = {record.position: record for record in records}
        assert {by_position[position].id for position in (first, second, third)} == {"repeated"}
        assert {record.data for record in records if record.id == "repeated"} == {b"sealed"}

    @scenario
    async def test_a_record_of_300_kilobytes(self, world: LogWorld) -> None:
        log = await world.opened()
        data = bytes(range(256)) * 1200
        position = await log.append(data, "large")
        assert list(await log.read(position, 1, 0)) == [Record(position, "large", data)]

    @scenario
    async def test_concurrent_appends_get_distinct_dense_positions(self, world: LogWorld) -> None:
        logs = [await world.opened() for _ in range(4)]
        ids = [f"id-{n}" for n in range(200)]
        positions = await asyncio.gather(*(logs[n % len(logs)].append(id.encode(), id) for n, id in enumerate(ids)))
        assert sorted(position.offset for position in positions) == list(range(1, 201))
        assert {r.position: r.id for r in await read_all(logs[0])} == dict(zip(positions, ids, strict=True))

    @scenario
    async def test_two_writers_and_five_readers_see_one_order(self, world: LogWorld) -> None:
        writers = [await world.opened() for _ in range(2)]
        readers = [await world.opened() for _ in range(5)]
        each = 150
        start = Position((await writers[0].bounds()).epoch, 1)

        async def follow(log: EventLog) -> list[Record]:
            seen: list[Record] = []
            while len(seen) < each * len(writers):
                seen += await log.read(start._replace(offset=len(seen) + 1), 17, 5)
            return seen

        following = [asyncio.create_task(follow(reader)) for reader in readers]
        ids = {name: [f"{name}-{n}" for n in range(each)] for name in "ab"}
        await asyncio.gather(*(append_many(log, ids[name]) for name, log in zip("ab", writers, strict=True)))
        orders = await asyncio.gather(*following)
        assert all(order == orders[0] for order in orders)
        for name in "ab":
            assert [record.id for record in orders[0] if record.id.startswith(name)] == ids[name]

    @scenario
    async def test_a_backlog_of_20_000_records_is_read_completely(self, world: LogWorld) -> None:
        logs = [await world.opened() for _ in range(8)]
        ids = [f"id-{n}" for n in range(20_000)]
        await asyncio.gather(*(append_many(log, ids[n :: len(logs)]) for n, log in enumerate(logs)))
        records = await read_all(logs[0])
        assert len(records) == len(ids)
        assert {record.id for record in records} == set(ids)

    @scenario
    async def test_renew_empties_the_log_and_begins_a_larger_epoch(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        old = await log.append(b"", "old")
        await log.renew(old.epoch)
        epoch, first, last = await log.bounds()
        assert epoch > old.epoch
        assert (first, last) == (1, 0)
        with pytest.raises(PositionLost):
            await log.read(old, 10, 0)
        with pytest.raises(PositionLost):
            await other.append(b"", "into an epoch that this handle has not seen")
        await other.open()
        assert await other.append(b"", "new") == Position(epoch, 1)

    @scenario
    async def test_of_many_that_renew_one_succeeds(self, world: LogWorld) -> None:
        logs = [await world.opened() for _ in range(6)]
        above = (await logs[0].append(b"", "old")).epoch

        async def renew_and_append(number: int, log: EventLog) -> None:
            await log.renew(above)
            await log.append(b"", f"id-{number}")

        await asyncio.gather(*(renew_and_append(n, log) for n, log in enumerate(logs)))
        assert len({await log.bounds() for log in logs}) == 1
        assert sorted(record.id for record in await read_all(logs[0])) == [f"id-{n}" for n in range(6)]

    @scenario
    async def test_renew_goes_above_what_is_asked(self, world: LogWorld) -> None:
        log = await world.opened()
        above = (await log.bounds()).epoch + 1_000_000
        await log.renew(above)
        renewed = await log.bounds()
        assert renewed.epoch > above
        await log.renew(above)
        assert await log.bounds() == renewed

    @scenario
    async def test_a_waiting_reader_learns_of_a_new_epoch(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        last = await log.append(b"", "last")
        reader = await waiting(read_for_ever(log, last._replace(offset=2)))
        await other.renew(last.epoch)
        with pytest.raises(PositionLost):
            await asyncio.wait_for(reader, 5)

    def test_opens_again_in_another_loop(self, world: LogWorld) -> None:
        log = world.handle()

        async def append(id: str) -> Position:
            await log.open()
            try:
                return await log.append(b"", id)
            finally:
                await log.close()

        async def check(positions: list[Position]) -> None:
            async with world:
                await log.open()
                assert [record.position for record in await read_all(log)] == positions

        positions = [asyncio.run(append(id)) for id in ("first", "second", "third")]
        asyncio.run(check(positions))


class DeletableLogContract(LogContract):
    """For logs that can be deleted behind the program's back."""

    @scenario
    async def test_a_deleted_log_is_lost_and_never_created_by_a_call(self, world: LogWorld) -> None:
        log = await world.opened()
        last = await log.append(b"", "old")
        await world.delete()
        for _ in range(2):
            with pytest.raises(PositionLost):
                await log.append(b"", "new")
            with pytest.raises(PositionLost):
                await log.bounds()
            with pytest.raises(PositionLost):
                await log.read(last, 10, 0.2)
        await log.open()
        assert (await log.bounds())[1:] == (1, 0)
        assert (await log.append(b"", "new")) > last

    @scenario
    async def test_a_recreated_log_is_a_newer_one(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        old = (await append_many(log, ["a", "b", "c"]))[-1]
        await world.delete()
        await other.open()
        await append_many(other, ["d", "e", "f", "g"])
        with pytest.raises(PositionLost):
            await log.read(old, 10, 0.2)
        with pytest.raises(PositionLost):
            await log.append(b"", "into a log that this handle has not seen")
        await log.open()
        bounds = await log.bounds()
        assert bounds.epoch > old.epoch
        assert bounds == await other.bounds()
        assert [record.id for record in await read_all(log)] == ["d", "e", "f", "g"]

    @scenario
    async def test_a_reader_that_waits_learns_that_the_log_was_deleted(self, world: LogWorld) -> None:
        log = await world.opened()
        last = await log.append(b"", "last")
        reader = await waiting(read_for_ever(log, last._replace(offset=2)))
        await world.delete()
        with pytest.raises(PositionLost):
            await asyncio.wait_for(reader, 5)
