"""Records that are gone: trimmed, deleted, recreated, restored from an older copy."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from async_hybrid_cache.errors import PositionLost
from async_hybrid_cache.positions import Position
from async_hybrid_cache.testing.log_calls import (
    append_many,
    append_surely,
    ids_of,
    read_all,
    read_for_ever,
    reopened,
    surely,
    waiting,
)
from async_hybrid_cache.testing.log_world import LogWorld, needs
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["LogLoss"]


class LogLoss:
    """Whoever asks for what is gone is told, and nothing appears in its place under the same positions.

    A log that vanished is never created by anything but `open`.
    """

    @scenario
    async def test_of_a_trimmed_log_the_bounds_tell_what_is_left(self, world: LogWorld) -> None:
        log = await world.opened()
        ids = [f"id-{n}" for n in range(500)]
        positions = await append_many(log, ids)
        await world.trim(keep=10)
        epoch, first, last = await log.bounds()
        assert epoch == positions[0].epoch
        assert 1 < first <= 491, "more was trimmed than asked, or nothing"
        for offset in (1, first - 1):
            with pytest.raises(PositionLost):
                await log.read(Position(epoch, offset), 10, 0.2)
        assert ids_of(await read_all(log)) == ids[first - 1 :]
        assert list(await log.read(Position(epoch, last + 1), 10, 0)) == []
        assert await log.append(b"data", "next") == Position(epoch, last + 1)

    @scenario
    async def test_a_deleted_log_is_lost_and_created_by_open_alone(self, world: LogWorld) -> None:
        log = await world.opened()
        last = await log.append(b"data", "old")
        await world.delete()
        for _ in range(2):
            with pytest.raises(PositionLost):
                await log.append(b"data", "new")
            with pytest.raises(PositionLost):
                await log.bounds()
            with pytest.raises(PositionLost):
                await log.read(last, 10, 0.2)
        await log.open()
        assert (await log.bounds())[1:] == (1, 0)
        assert (await log.append(b"data", "new")) > last

    @scenario
    async def test_a_waiting_reader_learns_that_the_log_was_deleted(self, world: LogWorld) -> None:
        log = await world.opened()
        last = await log.append(b"data", "last")
        reader = await waiting(read_for_ever(log, last._replace(offset=2)))
        await world.delete()
        with pytest.raises(PositionLost):
            await asyncio.wait_for(reader, 5)

    @pytest.mark.parametrize("count", [0, 2, 3, 5])
    @scenario
    async def test_a_log_recreated_on_a_live_connection_is_a_newer_one(self, world: LogWorld, count: int) -> None:
        log, other = await world.opened(), await world.opened()
        old = (await append_many(log, ["a", "b", "c"]))[-1]
        await world.delete()
        await other.open()
        ids = [f"new-{n}" for n in range(count)]
        await append_many(other, ids)
        with pytest.raises(PositionLost):
            await log.read(old, 10, 0.2)
        with pytest.raises(PositionLost):
            await log.append(b"data", "unseen")
        await log.open()
        bounds = await log.bounds()
        assert bounds.epoch > old.epoch
        assert bounds == await other.bounds()
        assert [id for id in ids_of(await read_all(log)) if id != "unseen"] == ids

    @needs("survives_restart")
    @scenario
    async def test_a_restored_older_copy_shows_what_it_lacks(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        await append_many(log, ["a", "b"])
        await world.back_up()
        await reopened(log, other)
        last = (await append_surely(log, "c", "d"))[-1]
        await world.restore()
        await reopened(log, other)
        bounds = await log.bounds()
        assert bounds[1:] == (1, 2) if bounds.epoch == last.epoch else bounds.epoch > last.epoch
        with pytest.raises(PositionLost):
            await log.read(last._replace(offset=last.offset + 1), 10, 0.2)
        await append_surely(other, "e", "f", "g")
        try:
            (record,) = await log.read(last, 1, 0.2)
        except PositionLost:
            pass
        else:
            assert record.id != "d", "a position that was used again looks like what it was"
        await surely(log, partial(log.renew, last.epoch))
        (position,) = await append_surely(log, "new")
        assert position.epoch > last.epoch
        await other.open()
        with pytest.raises(PositionLost):
            await other.read(last, 10, 0.2)

    @needs("survives_restart")
    @scenario
    async def test_a_restored_copy_of_an_older_epoch_is_never_taken_for_the_log(self, world: LogWorld) -> None:
        log, other = await world.opened(), await world.opened()
        older = (await append_many(log, ["a", "b"]))[-1]
        await world.back_up()
        await reopened(log, other)
        await surely(log, partial(log.renew, older.epoch))
        last = (await append_surely(log, "c", "d"))[-1]
        await world.restore()
        await reopened(log)
        assert (await log.bounds()).epoch != last.epoch
        with pytest.raises(PositionLost):
            await log.read(last, 10, 0.2)
        await surely(log, partial(log.renew, last.epoch))
        (position,) = await append_surely(log, "new")
        assert position.epoch > last.epoch
        await reopened(other)
        assert (await other.bounds()).epoch == position.epoch
