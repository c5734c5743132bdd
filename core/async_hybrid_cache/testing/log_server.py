"""The server dies, freezes, or is out of reach for one client."""

from __future__ import annotations

import asyncio

import pytest

from async_hybrid_cache.errors import LogUnavailable
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.testing.log_calls import (
    append_many,
    append_surely,
    ids_of,
    in_time,
    once,
    read_all,
    reopened,
    unanswered,
)
from async_hybrid_cache.testing.log_world import LogWorld, broken, cut_off, needs, slowed
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["LogServer"]

WRITERS = 3


async def collect(log: EventLog, start: Position, count: int) -> list[Record]:
    """The `count` records from `start` on, as they come."""
    seen: list[Record] = []
    while len(seen) < count:
        seen += await log.read(start._replace(offset=start.offset + len(seen)), 100, 1.0)
    return seen


class LogServer:
    """Acknowledged means durable; no call outlives its caller's patience; `open` makes a handle work again.

    The calls are given up after two seconds, and the log opened again after each error, as the stream does.
    """

    @needs("survives_restart")
    @scenario
    async def test_what_was_acknowledged_outlives_a_restart(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        ids = [f"id-{n}" for n in range(30)]
        last = (await append_many(log, ids))[-1]
        await world.restart()
        await reopened(log, other)
        assert ids_of(await read_all(other)) == ids
        assert await append_surely(log, "next") == [last._replace(offset=last.offset + 1)]

    @needs("has_server")
    @scenario
    async def test_appends_that_a_killed_server_left_open_are_settled_by_repeats(self, world: LogWorld) -> None:
        logs = [await world.opened() for _ in range(WRITERS)]
        acknowledged: list[dict[str, Position]] = [{} for _ in logs]
        over = asyncio.Event()

        async def write(number: int) -> None:
            while not over.is_set():
                id = f"{number}-{len(acknowledged[number])}"
                (acknowledged[number][id],) = await append_surely(logs[number], id)

        async def moved_on(by: int) -> None:
            goals = [len(of_one) + by for of_one in acknowledged]

            def reached() -> bool:
                return all(len(of_one) >= goal for of_one, goal in zip(acknowledged, goals, strict=True))

            await eventually(reached, timeout=20, message="the writers are stuck")

        writing = [asyncio.create_task(write(number)) for number in range(WRITERS)]
        await moved_on(20)
        async with broken(world, "killed"):
            pass
        await moved_on(20)
        over.set()
        await asyncio.gather(*writing)
        records = await read_all(logs[0])
        for number, of_one in enumerate(acknowledged):
            mine = [record for record in records if record.id.startswith(f"{number}-")]
            assert {record.id: record.position for record in mine} == of_one
            assert ids_of(mine) == list(of_one)

    @pytest.mark.parametrize("how", ["killed", "frozen"])
    @needs("has_server")
    @scenario
    async def test_no_call_hangs_while_the_server_is_gone(self, world: LogWorld, how: str) -> None:
        log, idle = await world.opened(), await world.opened()
        ids = [f"id-{n}" for n in range(20)]
        start = (await append_many(log, ids))[0]
        async with broken(world, how):
            await unanswered(log.append(b"repeated", "repeated"))
            await unanswered(log.bounds())
            try:
                assert list(await in_time(log.read(start._replace(offset=21), 10, 0.3))) == []
            except LogUnavailable:
                pass
            await unanswered(log.open())
            await asyncio.wait_for(idle.close(), 3)
        await reopened(log, idle)
        await append_surely(log, "repeated")
        records = await read_all(idle)
        assert ids_of(once(records)) == [*ids, "repeated"]
        assert ids_of(records[:20]) == ids

    @pytest.mark.parametrize("how", ["cut", "stalled"])
    @needs("has_server")
    @scenario
    async def test_one_reader_cut_off_catches_up_exactly(self, world: LogWorld, how: str) -> None:
        writer, near, far = await world.opened(), await world.opened(), world.keep(world.make_distant())
        await far.open()
        ids = [f"id-{n}" for n in range(60)]
        start = Position((await writer.bounds()).epoch, 1)
        following = asyncio.create_task(collect(near, start, len(ids)))
        await append_many(writer, ids[:20])
        seen = await collect(far, start, 20)
        with cut_off(world, how):
            await unanswered(far.bounds())
            await append_many(writer, ids[20:40])
        await reopened(far)
        seen += await collect(far, start._replace(offset=21), 20)
        await append_many(writer, ids[40:])
        seen += await collect(far, start._replace(offset=41), 20)
        assert ids_of(seen) == ids
        # whose connection was not cut has noticed nothing: no call of these two failed
        assert await following == seen

    @needs("has_server")
    @scenario
    async def test_an_append_whose_acknowledgement_was_cut_is_settled_by_a_repeat(self, world: LogWorld) -> None:
        near, far = await world.opened(), world.keep(world.make_distant())
        await far.open()
        await append_many(far, ["before"])
        start = Position((await near.bounds()).epoch, 2)
        for number in range(3):
            with slowed(world, 0.25):
                appending = asyncio.create_task(in_time(far.append(b"sealed", f"id-{number}"), 10))
                (landed,) = await near.read(start._replace(offset=2 + 2 * number), 1, 5)
                assert not appending.done(), "the acknowledgement was not held back"
                with cut_off(world, "cut"), pytest.raises(LogUnavailable):
                    await appending
            await append_many(near, [f"between-{number}"])
            await reopened(far)
            assert await in_time(far.append(b"sealed", f"id-{number}")) == landed.position
        expected = [id for number in range(3) for id in (f"id-{number}", f"between-{number}")]
        assert ids_of(await read_all(near)) == ["before", *expected]
