"""A process falls silent: whoever waits for it waits no longer than it can serve what is old, and no shorter."""

from __future__ import annotations

import asyncio
import math
from time import monotonic

import pytest

from async_hybrid_cache import BarrierTimeout
from async_hybrid_cache.testing.promises import promise
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, member
from tests.faults.places import Place
from tests.faults.process import Process

BOUND_SECONDS = 1.0
KEYS = [f"key-{number}" for number in range(20)]


@promise(1, fault="process frozen")
@promise(3, fault="process frozen")
@promise(4, fault="process frozen")
def test_a_process_that_was_frozen_is_waited_for_and_its_first_read_is_not_stale(
    place: Place, database: Database
) -> None:
    async def main() -> None:
        async with (
            member(place, database) as one,
            Process(database, place.url, place.namespace, max_staleness_seconds=BOUND_SECONDS) as frozen,
        ):
            for key in KEYS:
                await one.write(key)
            await fresh_everywhere(database, [one, frozen], KEYS, monotonic())
            await one.cache.barrier(await one.cache.remove(*KEYS))
            assert await frozen.read_all(KEYS) == database.read_all(KEYS)
            await frozen.stop()
            for key in KEYS:
                database.write(key)
            receipt = await one.cache.remove(*KEYS)
            began = monotonic()
            await one.cache.barrier(receipt)
            assert monotonic() - began >= BOUND_SECONDS
            frozen.cont()
            assert await frozen.read_all(KEYS) == database.read_all(KEYS)
            await fresh_everywhere(database, [one, frozen], KEYS, monotonic())

    asyncio.run(main())


@promise(4, fault="process killed")
def test_a_killed_process_is_waited_for_until_its_bound_has_passed_and_named_where_it_has_none(
    place: Place, database: Database
) -> None:
    async def main() -> None:
        async with (
            member(place, database) as one,
            Process(database, place.url, place.namespace, max_staleness_seconds=BOUND_SECONDS) as bounded,
            Process(database, place.url, place.namespace, max_staleness_seconds=math.inf) as unbounded,
        ):
            await one.write("key")
            instance = (await unbounded.stats()).stream.instance
            await one.cache.barrier(await one.cache.remove("key"))
            await bounded.kill()
            began = monotonic()
            await one.cache.barrier(await one.cache.remove("key"))
            assert monotonic() - began >= BOUND_SECONDS
            await unbounded.kill()
            with pytest.raises(BarrierTimeout) as named:
                await one.cache.barrier(await one.cache.remove("key"), timeout=2 * BOUND_SECONDS)
            assert list(named.value.missing) == [instance]

    asyncio.run(main())
