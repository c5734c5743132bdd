"""Many callers, many records, and how soon a reader wakes."""

from __future__ import annotations

import asyncio

from async_hybrid_cache.log import RECORD_MAX_BYTES, EventLog
from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.testing.log_calls import append_many, ids_of, read_all, waiting
from async_hybrid_cache.testing.log_world import LogWorld
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["LogLoad"]

WAKE_SECONDS = 2.0
BACKLOG = 5_000
LARGE = RECORD_MAX_BYTES * 9 // 10


class LogLoad:
    """What callers see of a healthy log when there are many of them."""

    @scenario
    async def test_a_waiting_reader_is_woken(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        start = Position((await log.bounds()).epoch, 1)
        for number in range(20):
            reader = await waiting(log.read(start._replace(offset=number + 1), 10, 30))
            await other.append(b"", f"id-{number}")
            assert ids_of(await asyncio.wait_for(reader, WAKE_SECONDS)) == [f"id-{number}"]

    @scenario
    async def test_a_waiting_read_holds_up_no_other_call_of_its_handle(self, world: LogWorld) -> None:
        log = await world.opened()
        start = Position((await log.bounds()).epoch, 1)
        for number in range(5):
            reader = await waiting(log.read(start._replace(offset=number + 1), 10, 30))
            bounds, position = await asyncio.wait_for(
                asyncio.gather(log.bounds(), log.append(b"data", f"id-{number}")), WAKE_SECONDS
            )
            assert bounds.last in (number, number + 1)
            assert await asyncio.wait_for(reader, WAKE_SECONDS) == [Record(position, f"id-{number}", b"data")]

    @scenario
    async def test_appends_at_once_get_positions_of_their_own(self, world: LogWorld) -> None:
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
    async def test_a_backlog_of_5_000_records_is_read_completely(self, world: LogWorld) -> None:
        logs = [await world.opened() for _ in range(8)]
        ids = [f"id-{n}" for n in range(BACKLOG)]
        await asyncio.gather(*(append_many(log, ids[n :: len(logs)]) for n, log in enumerate(logs)))
        records = ids_of(await read_all(logs[0]))
        assert len(records) == BACKLOG
        for n in range(len(logs)):
            written = ids[n :: len(logs)]
            mine = set(written)
            assert [id for id in records if id in mine] == written

    @scenario
    async def test_a_backlog_of_large_records_is_read_completely(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        written = [bytes([number]) * LARGE for number in range(24)]
        for number, data in enumerate(written):
            await log.append(data, f"id-{number}")
        assert [record.data for record in await read_all(other)] == written
