"""The log lost something: instances reset, count it, serve nothing stale, and go on."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from async_hybrid_cache.testing.promises import promise
from tests.faults.database import Database
from tests.faults.fleet import counted, fresh_everywhere, gaps, members, stream_of, write_all
from tests.faults.places import NatsPlace, Place
from tests.faults.process import Process

KEYS = [f"key-{i}" for i in range(30)]
# NATS may have sent what was written before it was trimmed: it then waits in the socket of the frozen worker
EXPECTED = {"trimmed": ([0, 0, 0], [0, 0, 1]), "deleted": ([1, 1, 1],)}


@promise(1, fault="log {loss}")
@pytest.mark.parametrize("loss", ["trimmed", "deleted"])
def test_a_frozen_worker_wakes_to_a_log_that_lost_what_it_missed(
    loss: str, place: Place, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with (
            members(place, database, 2) as others,
            Process(database, place.url, place.namespace) as frozen,
        ):
            await write_all(others[0], KEYS)
            await fresh_everywhere(database, [*others, frozen], KEYS, monotonic())
            await frozen.stop()
            await write_all(others[1], KEYS)
            if loss == "trimmed":
                await place.trim()
                await write_all(others[0], KEYS)
            else:
                await place.delete()
                await counted(others, 1, monotonic())
                await write_all(others[0], KEYS)
            await fresh_everywhere(database, others, KEYS, monotonic())
            frozen.cont()
            woken = monotonic()
            if not (loss == "trimmed" and isinstance(place, NatsPlace)):
                await counted([frozen], 1, woken)
                # from its reset on, not only after a while
                assert await frozen.read_all(KEYS) == database.read_all(KEYS)
            took = await fresh_everywhere(database, [*others, frozen], KEYS, woken)
            figures[f"log {loss} under a frozen worker"].append(took)
            lost = await gaps([*others, frozen])
            assert lost in EXPECTED[loss]
            assert lost == EXPECTED[loss][-1] or isinstance(place, NatsPlace)
            await write_all(frozen, KEYS)
            await fresh_everywhere(database, [*others, frozen], KEYS, monotonic())
            assert await gaps([*others, frozen]) == lost

    asyncio.run(main())


@promise(1, fault="log deleted")
def test_a_log_deleted_under_live_instances_is_noticed_and_counted(
    place: Place, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with members(place, database, 3) as fleet:
            for turn in range(1, 4):
                await write_all(fleet[0], KEYS)
                await fresh_everywhere(database, fleet, KEYS, monotonic())
                await place.delete()
                figures["log deleted: counted everywhere"].append(await counted(fleet, turn, monotonic()))
                key = f"new-{turn}"
                database.write(key)
                for instance in fleet:
                    await fresh_everywhere(database, fleet, [key], monotonic())
                    assert not (await instance.write(key)).queued
                    await fresh_everywhere(database, fleet, [key], monotonic(), within=1.0)
            assert await gaps(fleet) == [3, 3, 3]

    asyncio.run(main())


@promise(6, fault="log deleted")
def test_what_is_written_while_the_log_is_gone_arrives(place: Place, database: Database) -> None:
    async def main() -> None:
        async with members(place, database, 3) as fleet:
            for _ in range(5):
                await write_all(fleet[0], KEYS)
                await fresh_everywhere(database, fleet, KEYS, monotonic())
                await place.delete()
                deleted = monotonic()
                await asyncio.gather(*(write_all(instance, KEYS) for instance in fleet))
                await fresh_everywhere(database, fleet, KEYS, max(deleted, monotonic()))

    asyncio.run(main())


@promise(1, fault="record that is no frame")
def test_one_malformed_entry_is_a_counted_reset_and_the_listener_goes_on(place: Place, database: Database) -> None:
    async def main() -> None:
        async with members(place, database, 2) as fleet:
            await write_all(fleet[0], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            for key in KEYS:
                database.write(key)
            # the old values are still in L2, and what the entry announced nobody can tell
            await place.append_foreign()
            await counted(fleet, 1, monotonic())
            assert [await instance.read_all(KEYS) for instance in fleet] == [database.read_all(KEYS)] * 2
            streams = [stream_of(await instance.stats()) for instance in fleet]
            assert [stream.undecodable_records for stream in streams] == [1, 1]
            assert [stream.down_seconds for stream in streams] == [None, None]
            await write_all(fleet[1], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic(), within=1.0)
            assert await gaps(fleet) == [1, 1]

    asyncio.run(main())


@promise(1, fault="log trimmed")
def test_a_log_trimmed_behind_everybody_costs_nothing(place: Place, database: Database) -> None:
    async def main() -> None:
        async with members(place, database, 2) as fleet:
            await write_all(fleet[0], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            await place.trim()
            await asyncio.sleep(1.6)  # two proofs
            await write_all(fleet[1], KEYS)
            await fresh_everywhere(database, fleet, KEYS, monotonic(), within=1.0)
            assert await gaps(fleet) == [0, 0]

    asyncio.run(main())
