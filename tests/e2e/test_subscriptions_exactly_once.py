"""Subscribers killed at random moments, whose handlers commit the position with their effects: each event once."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.e2e.subscriber import Settings
from tests.e2e.subscribers import Subscriber, publisher
from tests.servers.server import Server

KILLS = 50
KILLS_ON_A_SERVER = 20  # where the log is one: it has no part in the commit
EVENTS_PER_LIFE = 12
LONGEST_LIFE_SECONDS = 0.08
STEP_SECONDS = 0.006

Effects = Callable[[], Awaitable[list[tuple[str, str]]]]


def settings_of(tmp_path: Path, checkpoints: str, effects: str, *, bus: str = "", namespace: str = "") -> Settings:
    return Settings(
        bus=bus or f"sqlite:///{tmp_path}/log.db",
        namespace=namespace or f"test_{uuid.uuid4().hex[:12]}",
        checkpoints=checkpoints,
        instance_id="worker",
        per="fleet",
        heard=str(tmp_path / "heard"),
        effects=effects,
        pause=STEP_SECONDS,
    )


async def killed_again_and_again(settings: Settings, effects: Effects, kills: int) -> None:
    """Kill it `kills` times; then every event has had its effect once, and in order."""
    rng = random.Random(4)
    keys: list[str] = []
    in_the_middle = 0
    async with publisher(settings) as cache:
        async with Subscriber(settings):
            pass  # it has its place in the log
        for life in range(kills):
            fresh = [f"{life}-{number}" for number in range(EVENTS_PER_LIFE)]
            keys += fresh
            for key in fresh:
                await cache.remove(key)
            settings.seed = life
            async with Subscriber(settings) as subscriber:
                before = len(await effects())
                await asyncio.sleep(rng.uniform(0, LONGEST_LIFE_SECONDS))
                await subscriber.kill()
                in_the_middle += before < len(await effects()) < before + EVENTS_PER_LIFE
        async with Subscriber(settings):

            async def all_of_them() -> bool:
                return len(await effects()) >= len(keys)

            await eventually(all_of_them, timeout=120.0, poll_seconds=0.05)
            await cache.remove("the end")

            async def the_end() -> bool:
                return any(key == "the end" for _, key in await effects())

            await eventually(the_end)
    found = await effects()
    assert [key for _, key in found] == [*keys, "the end"]
    assert len({id for id, _ in found}) == len(found)
    # most kills came in the middle of the work
    assert in_the_middle > kills / 4


@promise(7, fault="process killed")
@pytest.mark.parametrize("log", ["sqlite", "valkey", "nats", "kafka"])
def test_each_event_has_its_effect_once_in_sqlite(tmp_path: Path, log: str, request: pytest.FixtureRequest) -> None:
    namespace = f"test-{uuid.uuid4().hex[:12]}"
    database = tmp_path / f"app-{namespace}.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE effects (id TEXT NOT NULL, key TEXT NOT NULL)")
    connection.close()

    async def effects() -> list[tuple[str, str]]:
        connection = sqlite3.connect(database)
        try:
            return connection.execute("SELECT id, key FROM effects ORDER BY rowid").fetchall()
        finally:
            connection.close()

    bus = "" if log == "sqlite" else request.getfixturevalue(log).url
    checkpoints = f"sqlite:///{tmp_path}/app.db"
    settings = settings_of(tmp_path, checkpoints, str(database), bus=bus, namespace=namespace)
    asyncio.run(killed_again_and_again(settings, effects, KILLS if log == "sqlite" else KILLS_ON_A_SERVER))


def test_each_event_has_its_effect_once_in_postgresql(tmp_path: Path, postgres: Server) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(postgres.url)
        try:
            await connection.execute("DROP TABLE IF EXISTS effects")
            await connection.execute("CREATE TABLE effects (id text, key text, number bigserial)")

            async def effects() -> list[tuple[str, str]]:
                rows = await connection.fetch("SELECT id, key FROM effects ORDER BY number")
                return [(row["id"], row["key"]) for row in rows]

            await killed_again_and_again(settings_of(tmp_path, postgres.url, postgres.url), effects, KILLS)
        finally:
            await connection.close()

    asyncio.run(main())
