"""The server stands still: connections are open, nothing answers."""

from __future__ import annotations

import asyncio
from time import monotonic

from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import KeysRemoved
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, gaps, member, members, write_all
from tests.faults.places import Place, RedisPlace, Served, read_frames
from tests.servers.valkey import ValkeyServer

KEYS = [f"key-{i}" for i in range(30)]


async def removals(place: Place, key: str) -> int:
    """How many events in the log remove `key`."""
    events = [event for _, frame in await read_frames(place) for event in frame.events]
    return sum(isinstance(event, KeysRemoved) and key in event.keys for event in events)


def test_a_frozen_server_costs_one_timeout_and_then_nothing(
    own_valkey: ValkeyServer, redis_place: RedisPlace, database: Database
) -> None:
    async def main() -> None:
        async with member(redis_place, database) as one:
            await write_all(one, KEYS)
            own_valkey.stop()
            try:
                began = monotonic()
                assert await one.read(KEYS[0]) == 1
                first = monotonic() - began
                began = monotonic()
                assert await one.read_all(KEYS) == [1] * len(KEYS)
                others = monotonic() - began
                for key in KEYS[:5]:
                    database.write(key)
                    change = await one.remove(key)
                    assert change.queued
                    assert change.seconds < 3.0
                    assert await one.read(key) == 2
                again = await one.write(KEYS[6])
            finally:
                own_valkey.cont()
            assert 0.4 < first < 0.8
            assert others < 0.1
            assert again.queued
            assert again.seconds < 0.1
            await fresh_everywhere(database, [one], KEYS, monotonic())

    asyncio.run(main())


@promise(6, fault="server frozen, or file locked")
def test_deletes_that_failed_in_l2_are_done_and_announced_again(
    own_valkey: ValkeyServer, redis_place: RedisPlace, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with members(redis_place, database, 3) as fleet:
            writer = fleet[0]
            for seconds in (0.3, 1.0, 4.0):
                await write_all(writer, KEYS)
                await fresh_everywhere(database, fleet, KEYS, monotonic())
                before = await removals(redis_place, KEYS[0])
                own_valkey.stop()
                try:
                    frozen = monotonic()
                    await asyncio.gather(*(writer.write(key) for key in KEYS))
                    # queued since it could not be deleted, and so L2 still has the old values
                    assert writer.cache.stats().distributed.late_deletes == len(KEYS)
                    await asyncio.sleep(max(0.0, frozen + seconds - monotonic()))
                finally:
                    own_valkey.cont()
                figures["server frozen"].append(await fresh_everywhere(database, fleet, KEYS, monotonic()))
                await eventually(lambda: writer.cache.stats().distributed.late_deletes == 0, timeout=2.0)
                await eventually(lambda before=before: told_twice(before), timeout=2.0)
                # nobody has these in L1 who is new, so what L2 holds is what is served
                async with member(redis_place, database) as newcomer:
                    assert await newcomer.read_all(KEYS) == database.read_all(KEYS)
            assert await gaps(fleet) == [0, 0, 0]

    async def told_twice(before: int) -> bool:
        return await removals(redis_place, KEYS[0]) >= before + 2

    asyncio.run(main())


@promise(9, fault="server frozen, or file locked")
def test_start_and_stop_before_a_frozen_server_are_bounded(
    served: Served, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        served.server.stop()
        began = monotonic()
        async with member(served.place, database) as early:
            assert monotonic() - began < 6.0
            assert await early.write("key")
            assert await early.read("key") == 1
            assert early.cache.health().status == "degraded"
            served.server.cont()
            thawed = monotonic()
            await eventually(lambda: early.cache.health().status == "ok", timeout=2.0)
            figures[f"{served.name}: started before a frozen server"].append(monotonic() - thawed)
            async with member(served.place, database) as late:
                await fresh_everywhere(database, [early, late], ["key"], monotonic())
                await late.write("key")
                await fresh_everywhere(database, [early, late], ["key"], monotonic())
                served.server.stop()
                began = monotonic()
            assert monotonic() - began < 5.0
            served.server.cont()

    asyncio.run(main())
