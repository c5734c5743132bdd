"""The server came back without what it had acknowledged: flushed, emptied, or older than it was."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from redis.asyncio import Redis

from async_hybrid_cache.testing.promises import promise
from tests.faults.database import Database
from tests.faults.fleet import Instance, counted, fresh_everywhere, gaps, member, members, stream_of, write_all
from tests.faults.places import RedisPlace, Served, SqlitePlace
from tests.servers.proxy import Proxy
from tests.servers.valkey import ValkeyServer

Figures = dict[str, list[float]]

KEYS = [f"key-{i}" for i in range(30)]
AOF = "appendonlydir"
DATA = {"redis": AOF, "nats": "data", "kafka": "data"}


async def reset_once(fleet: Sequence[Instance], database: Database, since: float) -> float:
    """Everybody counts one gap and is fresh, and events flow again; seconds until all were fresh."""
    await counted(fleet, 1, since)
    took = await fresh_everywhere(database, fleet, KEYS, since)
    for instance in (fleet[0], fleet[-1]):
        await write_all(instance, KEYS)
        await fresh_everywhere(database, fleet, KEYS, monotonic())
    assert await gaps(fleet) == [1] * len(fleet)
    return took


def freeze_and_copy(server: ValkeyServer, data: Path, copy: Path) -> None:
    """A copy of the server's data folder as it is at this moment."""
    server.stop()
    shutil.copytree(data / AOF, copy)
    server.cont()


def replace(data: Path, copy: Path) -> None:
    shutil.rmtree(data / AOF)
    shutil.copytree(copy, data / AOF)


@promise(1, fault="log deleted")
def test_flushall_is_a_new_epoch(redis_place: RedisPlace, database: Database, figures: Figures) -> None:
    async def main() -> None:
        async with members(redis_place, database, 3) as fleet:
            await write_all(fleet[0], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            for key in KEYS:
                database.write(key)
            async with Redis.from_url(redis_place.url) as redis:
                await redis.flushall()
            figures["FLUSHALL"].append(await reset_once(fleet, database, monotonic()))

    asyncio.run(main())


@promise(1, fault="server back empty")
def test_a_server_that_comes_back_empty_is_a_new_epoch(served: Served, database: Database, figures: Figures) -> None:
    async def main() -> None:
        async with members(served.place, database, 3) as fleet:
            await write_all(fleet[0], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            served.server.kill()
            shutil.rmtree(served.server.folder / DATA[served.name])
            for key in KEYS[::2]:
                assert (await fleet[1].write(key)).queued
            await asyncio.to_thread(served.server.start)
            figures[f"{served.name} back empty"].append(await reset_once(fleet, database, monotonic()))

    asyncio.run(main())


@promise(1, fault="older copy restored")
def test_a_failover_that_lost_the_tail_is_a_reset(
    own_valkey: ValkeyServer, redis_place: RedisPlace, database: Database, tmp_path: Path, figures: Figures
) -> None:
    async def main() -> None:
        data, copy = tmp_path / "valkey", tmp_path / "copy"
        async with members(redis_place, database, 3) as fleet:
            await write_all(fleet[0], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            await asyncio.to_thread(freeze_and_copy, own_valkey, data, copy)
            await write_all(fleet[1], KEYS)
            # and L2 of the copy holds what these reads replace
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            own_valkey.kill()
            replace(data, copy)
            await asyncio.to_thread(own_valkey.start)
            figures["failover lost the tail"].append(await reset_once(fleet, database, monotonic()))

    asyncio.run(main())


@promise(1, fault="older copy restored")
def test_a_lost_tail_whose_positions_were_used_again_is_a_reset(
    own_valkey: ValkeyServer, redis_place: RedisPlace, database: Database, tmp_path: Path, figures: Figures
) -> None:
    async def main() -> None:
        data, copy = tmp_path / "valkey", tmp_path / "copy"
        with Proxy(own_valkey.url) as proxy:
            async with (
                member(redis_place, database, url=proxy.url) as first,
                member(redis_place, database, url=proxy.url) as second,
            ):
                await write_all(first, KEYS)
                await fresh_everywhere(database, [first, second], KEYS, monotonic())
                await asyncio.to_thread(freeze_and_copy, own_valkey, data, copy)
                await write_all(second, KEYS)
                await fresh_everywhere(database, [first, second], KEYS, monotonic())
                position = stream_of(first.cache.stats()).position
                proxy.cut()
                own_valkey.kill()
                replace(data, copy)
                await asyncio.to_thread(own_valkey.start)
                # another one writes on from the older end, past where the first two stand
                async with member(redis_place, database) as other:
                    await write_all(other, KEYS)
                    await write_all(other, KEYS)
                    ahead = stream_of(other.cache.stats()).position
                    assert ahead.split("-")[0] == position.split("-")[0]
                    assert int(ahead.split("-")[1]) > int(position.split("-")[1])
                    proxy.heal()
                    fleet: list[Instance] = [first, second, other]
                    took = await reset_once(fleet, database, monotonic())
                    figures["failover reused positions"].append(took)
                    assert stream_of(first.cache.stats()).position.split("-")[0] != position.split("-")[0]

    asyncio.run(main())


@promise(1, fault="older copy restored")
def test_an_older_file_in_the_place_of_the_log_is_a_reset(
    sqlite_place: SqlitePlace, database: Database, tmp_path: Path, figures: Figures
) -> None:
    async def main() -> None:
        async with members(sqlite_place, database, 3) as fleet:
            await write_all(fleet[0], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            sqlite_place.copy_to(tmp_path / "older.db")
            await write_all(fleet[1], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            sqlite_place.replace_by(tmp_path / "older.db")
            figures["SQLite file put back"].append(await reset_once(fleet, database, monotonic()))

    asyncio.run(main())
