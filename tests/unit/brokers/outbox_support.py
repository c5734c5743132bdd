"""An outbox in a PostgreSQL of the tests, and a relay from it to a log that fails on command."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from async_hybrid_cache import InvalidationBus, InvalidationPublisher, OutboxRelay, PostgresOutbox, StreamOptions
from async_hybrid_cache_codecs.events import Event, Unknown
from async_hybrid_cache_codecs.frames import open_frame
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory

__all__ = ["connected", "made", "said", "to"]


async def made(url: str) -> PostgresOutbox:
    """An outbox in a table of its own."""
    outbox = PostgresOutbox(url, table=f"outbox_{uuid.uuid4().hex}")
    await outbox.create_table()
    return outbox


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """The application's connection."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def to(log: ScriptedLog, outbox: Any, l2: SharedMemory | None = None, **arguments: Any) -> OutboxRelay:
    """A relay; it polls so rarely that nothing but a notification wakes it in time."""
    timing = {"retry_max_seconds": 0.05, "call_timeout_seconds": 0.2, "append_timeout_seconds": 0.2}
    options = {name: arguments.pop(name) for name in list(arguments) if name != "poll_seconds"}
    publisher = InvalidationPublisher(
        invalidation_bus=InvalidationBus(lambda: log, StreamOptions(**{**timing, **options})),
        new_distributed_cache=None if l2 is None else lambda: l2,
        name="relay",
        timeout_seconds=1.0,
    )
    return OutboxRelay(outbox, publisher, **{"poll_seconds": 60.0, **arguments})


def said(log: ScriptedLog) -> list[Event | Unknown]:
    """Every event in the log."""
    return [event for record in log.records() for event in open_frame(record.data).events]
