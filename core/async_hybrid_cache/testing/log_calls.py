"""What the rows of `LogContract` do with a handle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import pytest

from async_hybrid_cache.errors import LogUnavailable, PositionLost
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Position, Record

__all__ = [
    "append_many",
    "append_surely",
    "ids_of",
    "in_time",
    "once",
    "read_all",
    "read_for_ever",
    "reopened",
    "surely",
    "unanswered",
    "waiting",
]

T = TypeVar("T")

CALL_SECONDS = 2.0
RETURN_SECONDS = 15.0


async def append_many(log: EventLog, ids: Iterable[str]) -> list[Position]:
    """Append one record an id, each with the id as its data, one after the other."""
    return [await log.append(id.encode(), id) for id in ids]


async def read_all(log: EventLog, limit: int = 1000) -> list[Record]:
    """Everything that the log holds now, read in steps of at most `limit`, without the log's own notes."""
    epoch, first, last = await log.bounds()
    records: list[Record] = []
    while first + len(records) <= last:
        step = await log.read(Position(epoch, first + len(records)), limit, 1.0)
        assert 0 < len(step) <= limit
        records += step
    assert [r.position for r in records] == [Position(epoch, first + i) for i in range(len(records))]
    return [record for record in records if record.data]


def ids_of(records: Iterable[Record]) -> list[str]:
    """Their ids, in order."""
    return [record.id for record in records]


def once(records: Sequence[Record]) -> list[Record]:
    """`records` without those that repeat an earlier one, which must do so byte for byte."""
    found: dict[str, Record] = {}
    for record in records:
        assert found.setdefault(record.id, record).data == record.data, f"{record.id} was changed"
    return list(found.values())


async def waiting(call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """`call` as a task, which must be waiting for something by now."""
    task = asyncio.create_task(call)
    done, _ = await asyncio.wait({task}, timeout=0.03)
    assert not done, f"did not wait: {task}"
    return task


async def read_for_ever(log: EventLog, start: Position) -> None:
    """Wait at `start`, as a stream does that is caught up, and go past the log's own notes."""
    while True:
        for record in await log.read(start, 10, 0.5):
            assert not record.data, f"nobody appended {record}"
            start = start._replace(offset=start.offset + 1)


async def in_time(call: Awaitable[T], seconds: float = CALL_SECONDS) -> T:
    """`call`, given up after `seconds` as the stream does: then it is `LogUnavailable`, and must end at once."""
    began = monotonic()
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError as error:
        raise LogUnavailable("no answer in time") from error
    finally:
        assert monotonic() - began < seconds + 1.0, "a call that was given up did not end"


async def unanswered(call: Awaitable[Any], seconds: float = 1.0) -> None:
    """`call` must fail as one does that the log does not answer, by itself or because it is given up."""
    with pytest.raises(LogUnavailable):
        await in_time(call, seconds)


async def reopened(*logs: EventLog, within: float = RETURN_SECONDS) -> None:
    """Open each again, as often as it takes a log that is coming back."""
    deadline = monotonic() + within
    for log in logs:
        while True:
            try:
                await in_time(log.open())
                await in_time(log.bounds())
                break
            except (LogUnavailable, PositionLost):
                assert monotonic() < deadline, f"{log!r} did not come back"
                await asyncio.sleep(0.05)


async def surely(log: EventLog, call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns, repeated on `log` until it is answered, as the stream does."""
    deadline = monotonic() + RETURN_SECONDS
    while True:
        try:
            return await in_time(call())
        except LogUnavailable:
            assert monotonic() < deadline, f"{log!r} did not come back"
            await reopened(log)


async def append_surely(log: EventLog, *ids: str) -> list[Position]:
    """Append each id as its own data, and repeat it until it is acknowledged."""
    return [await surely(log, partial(log.append, id.encode(), id)) for id in ids]
