"""Creating a log, and beginning it anew."""

from __future__ import annotations

import asyncio

import pytest

from async_hybrid_cache.errors import PositionLost
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.testing.log_calls import append_many, ids_of, read_all, read_for_ever, waiting
from async_hybrid_cache.testing.log_world import LogWorld
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["LogEpochs"]


class LogEpochs:
    """Of many that create or renew a log at once one succeeds, and nobody appends to an epoch unseen.

    The append that finds out may have landed all the same: not every server can compare and append in one.
    """

    @scenario
    async def test_many_that_open_a_missing_log_share_one_epoch(self, world: LogWorld) -> None:
        logs = [world.handle() for _ in range(8)]
        await asyncio.gather(*(log.open() for log in logs))
        bounds = {await log.bounds() for log in logs}
        assert len(bounds) == 1
        (epoch, _, last) = bounds.pop()
        for number, log in enumerate(logs, 1):
            assert await log.append(b"data", f"id-{number}") == (epoch, last + number)
        assert ids_of(await read_all(logs[0])) == [f"id-{number}" for number in range(1, 9)]

    @scenario
    async def test_renew_empties_the_log_and_begins_a_larger_epoch(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        old = await log.append(b"data", "old")
        await log.renew(old.epoch)
        epoch, first, last = await log.bounds()
        assert epoch > old.epoch
        assert (first, last) == (1, 0)
        with pytest.raises(PositionLost):
            await log.read(old, 10, 0)
        with pytest.raises(PositionLost):
            await other.append(b"data", "unseen")
        await other.open()
        position = await other.append(b"data", "new")
        assert position.epoch == epoch
        assert [id for id in ids_of(await read_all(log)) if id != "unseen"] == ["new"]

    @scenario
    async def test_of_many_that_renew_one_succeeds(self, world: LogWorld) -> None:
        logs = [await world.opened() for _ in range(6)]
        above = (await logs[0].append(b"data", "old")).epoch

        async def renew_and_append(number: int, log: EventLog) -> None:
            await log.renew(above)
            await append_many(log, [f"id-{number}"])

        await asyncio.gather(*(renew_and_append(n, log) for n, log in enumerate(logs)))
        assert len({await log.bounds() for log in logs}) == 1
        assert sorted(ids_of(await read_all(logs[0]))) == [f"id-{n}" for n in range(6)]

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
        last = await log.append(b"data", "last")
        reader = await waiting(read_for_ever(log, last._replace(offset=2)))
        await other.renew(last.epoch)
        with pytest.raises(PositionLost):
            await asyncio.wait_for(reader, 5)
