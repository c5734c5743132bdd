"""A process that subscribes and writes down what it hears; run as `python -m tests.e2e.subscriber`.

Arguments, as JSON: see `Settings`. Says "ready" when it has started.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from typing import Literal

import asyncpg  # type: ignore[import-untyped]
import msgspec

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.cache import AsyncHybridCache
from async_hybrid_cache.checkpoint import CheckpointStore
from async_hybrid_cache.registry import find_broker, find_checkpoints
from async_hybrid_cache.subscription import Delivery, Gap
from async_hybrid_cache_brokers.postgres import PostgresCheckpointStore
from async_hybrid_cache_codecs.events import KeysRemoved

__all__ = ["NAME", "Settings"]

NAME = "listener"


class Settings(msgspec.Struct):
    """What the process is told: the bus, where positions are kept, and where to write what was heard.

    `effects` is the SQLite file or PostgreSQL URL whose table `effects` a transaction writes to; without it each event
    is a line in the file `heard`. `pause` is the longest wait between the steps of a handler, in seconds.
    """

    bus: str
    namespace: str
    checkpoints: str
    instance_id: str
    per: Literal["fleet", "instance"]
    heard: str
    effects: str | None = None
    pause: float = 0.0
    lease_seconds: float = 3.0
    seed: int = 0


def told(delivery: Delivery) -> list[str]:
    """The keys of an event, or why there are none."""
    match delivery.event:
        case KeysRemoved():
            return list(delivery.event.keys)
        case Gap():
            return [f"gap: {delivery.event.reason}"]
        case _:
            return [repr(delivery.event)]


class Handlers:
    """The ways of doing something about an event."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rng = random.Random(settings.seed)
        self._file = os.open(settings.heard, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._connection: object = None

    def choose(self) -> Callable[[Delivery], Awaitable[None]]:
        if self._settings.effects is None:
            return self.write_down
        return self.in_postgres if self._settings.effects.startswith("postgres") else self.in_sqlite

    async def write_down(self, delivery: Delivery) -> None:
        """At least once."""
        await self._wait()
        for key in told(delivery):
            os.write(self._file, f"{delivery.id} {delivery.position} {key}\n".encode())
        await self._wait()

    async def in_sqlite(self, delivery: Delivery) -> None:
        """Exactly once, in SQLite."""
        assert self._settings.effects is not None
        if self._connection is None:
            self._connection = sqlite3.connect(self._settings.effects, isolation_level=None)
        connection = self._connection
        assert isinstance(connection, sqlite3.Connection)
        await self._wait()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT INTO effects VALUES (?, ?)", [(delivery.id, key) for key in told(delivery)])
            await self._wait()
            delivery.commit(connection)
            await self._wait()
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        await self._wait()

    async def in_postgres(self, delivery: Delivery) -> None:
        """Exactly once, in PostgreSQL."""
        if self._connection is None:
            self._connection = await asyncpg.connect(self._settings.effects)
        connection = self._connection
        await self._wait()
        async with connection.transaction():  # type: ignore[attr-defined]
            rows = [(delivery.id, key) for key in told(delivery)]
            await connection.executemany("INSERT INTO effects VALUES ($1, $2)", rows)  # type: ignore[attr-defined]
            await self._wait()
            await delivery.commit(connection)
            await self._wait()
        await self._wait()

    async def _wait(self) -> None:
        if self._settings.pause:
            await asyncio.sleep(self._rng.uniform(0, self._settings.pause))


def store_of(settings: Settings) -> CheckpointStore:
    """Where positions are kept."""
    if settings.checkpoints.startswith("postgres"):
        return PostgresCheckpointStore(settings.checkpoints, table=f"{settings.namespace}_checkpoints")
    return find_checkpoints(settings.checkpoints, namespace=settings.namespace)


async def main(settings: Settings) -> None:
    """Run until the process is killed or told to end."""
    stream = StreamOptions(instance_id=settings.instance_id, lease_seconds=settings.lease_seconds)
    bus = find_broker(settings.bus).bus(settings.bus, namespace=settings.namespace, stream=stream)
    store = store_of(settings)
    subscription = bus.subscribe(NAME, Handlers(settings).choose(), per=settings.per, checkpoints=store)
    async with AsyncHybridCache(invalidation_bus=bus):
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            if line == "stats":
                print(msgspec.json.encode(subscription.stats()).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Settings)))
