"""Relays killed at random moments: what was committed reaches every instance, what was rolled back reaches none."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    PostgresOutbox,
    SqliteDistributedCache,
    SqliteInvalidationBus,
)
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import KeysRemoved
from async_hybrid_cache_codecs.frames import open_frame
from tests.servers.server import Server

ROOT = Path(__file__).parents[2]
KILLS = 25
WRITES_PER_LIFE = 40
LONGEST_LIFE_SECONDS = 0.06
OPTIONS = CacheOptions(ttl_seconds=600, lru_max_keys=10_000)


class Relay:
    """A relay in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    async def __aenter__(self) -> Relay:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "tests.e2e.relayer", *self._arguments,
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert await asyncio.wait_for(self._process.stdout.readline(), 20) == b"ready\n"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.communicate()


class Writer:
    """Transactions that are committed, rolled back, or committed late."""

    def __init__(self, url: str, outbox: PostgresOutbox, rng: random.Random) -> None:
        self._url = url
        self._outbox = outbox
        self._rng = rng
        self.committed: list[str] = []
        self.undone: list[str] = []

    async def write(self, life: int) -> None:
        """One life's writes, one of them in a transaction that stays open until all the others are through."""
        quick, slow = await asyncpg.connect(self._url), await asyncpg.connect(self._url)
        late = slow.transaction()
        await late.start()
        await self._outbox.remove(slow, f"{life}-late")
        for number in range(WRITES_PER_LIFE):
            transaction = quick.transaction()
            await transaction.start()
            await self._outbox.remove(quick, f"{life}-{number}")
            if self._rng.random() < 0.2:
                await transaction.rollback()
                self.undone.append(f"{life}-{number}")
            else:
                await transaction.commit()
                self.committed.append(f"{life}-{number}")
        await late.commit()
        self.committed.append(f"{life}-late")
        await quick.close()
        await slow.close()


async def records(file: str) -> list[tuple[str, bytes]]:
    log = SqliteInvalidationBus(file).new_log()
    await log.open()
    try:
        bounds = await log.bounds()
        position, found = bounds.head._replace(offset=bounds.first), []
        while position <= bounds.head:
            read = await log.read(position, 1_000, 0.0)
            found += [(record.id, record.data) for record in read]
            position = read[-1].position._replace(offset=read[-1].position.offset + 1)
        return found
    finally:
        await log.close()


def test_relays_killed_at_random_moments_lose_and_invent_nothing(tmp_path: Path, postgres: Server) -> None:
    rng = random.Random(5)
    file = str(tmp_path / "cache.db")

    async def scenario() -> None:
        outbox = PostgresOutbox(postgres.url, table=f"outbox_{uuid.uuid4().hex}")
        await outbox.create_table()
        writer = Writer(postgres.url, outbox, rng)
        state = {"value": "old"}

        async def load() -> str:
            return state["value"]

        async def waiting(connection: Any) -> int:
            count: int = await connection.fetchval(f'SELECT count(*) FROM "{outbox._name}"')
            return count

        connection = await asyncpg.connect(postgres.url)
        cache = AsyncHybridCache(
            distributed_cache=SqliteDistributedCache(file),
            invalidation_bus=SqliteInvalidationBus(file),
            options=OPTIONS,
        )
        keys = [f"{life}-{n}" for life in range(KILLS) for n in [*range(WRITES_PER_LIFE), "late"]]
        in_the_middle = 0
        async with cache:
            for key in keys:
                await cache.get_or_set(key, load)
            state["value"] = "new"
            for life in range(KILLS):
                await writer.write(life)
                before = await waiting(connection)
                async with Relay(postgres.url, outbox._name, file):
                    await asyncio.sleep(rng.uniform(0, LONGEST_LIFE_SECONDS))
                in_the_middle += 0 < await waiting(connection) < before
            async with Relay(postgres.url, outbox._name, file):

                async def empty() -> bool:
                    return await waiting(connection) == 0

                await eventually(empty, timeout=20, poll_seconds=0.05)
            await connection.close()
            await eventually(lambda: cache.stats().stream.lag == 0)  # type: ignore[union-attr]
            values = {key: await cache.get_or_set(key, load) for key in keys}
            assert {key for key, value in values.items() if value == "new"} == set(writer.committed)
            assert {key for key, value in values.items() if value == "old"} == set(writer.undone)
            stream = cache.stats().stream
            assert stream is not None
            assert (stream.gap_total, cache.stats().resets) == (0, 0)
        found = await records(file)
        by_id: dict[str, set[bytes]] = {}
        for id, data in found:
            by_id.setdefault(id, set()).add(data)
        assert {len(datas) for datas in by_id.values()} == {1}
        frames = [open_frame(data) for _, data in {id: (id, data) for id, data in found}.values()]
        told = [event.keys[0] for frame in frames for event in frame.events if isinstance(event, KeysRemoved)]
        assert Counter(told) == Counter(writer.committed)
        # most kills came in the middle of the work
        assert in_the_middle > KILLS / 3

    asyncio.run(scenario())
