"""What the tests of logs in a cluster share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Position
from async_hybrid_cache.testing.log_calls import append_surely, ids_of, read_all, reopened
from async_hybrid_cache.testing.waiting import eventually

__all__ = ["lose_nothing"]

WRITTEN_AFTERWARDS = 20


async def lose_nothing(logs: Sequence[EventLog], lose_leader: Callable[[], Awaitable[None]]) -> None:
    """All `logs` write on while the leader is lost: what was acknowledged stays, once, in order, in its epoch."""
    epoch = (await logs[0].bounds()).epoch
    acknowledged: list[dict[str, Position]] = [{} for _ in logs]
    lost = asyncio.Event()

    async def write(number: int) -> None:
        after = 0
        while after < WRITTEN_AFTERWARDS:
            id = f"{number}-{len(acknowledged[number])}"
            (acknowledged[number][id],) = await append_surely(logs[number], id)
            after += lost.is_set()

    writing = [asyncio.create_task(write(number)) for number in range(len(logs))]
    await eventually(lambda: all(len(of_one) > 5 for of_one in acknowledged))
    await lose_leader()
    lost.set()
    await asyncio.gather(*writing)
    await reopened(*logs)
    records = await read_all(logs[0])
    assert {record.position.epoch for record in records} == {epoch}
    for number, of_one in enumerate(acknowledged):
        mine = [record for record in records if record.id.startswith(f"{number}-")]
        assert {record.id: record.position for record in mine} == of_one
        assert ids_of(mine) == list(of_one)
