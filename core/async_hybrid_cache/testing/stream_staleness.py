"""The promises about age: how old a value may be where nothing is heard, and reads at a position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from async_hybrid_cache.options import CacheOptions
from async_hybrid_cache.testing.fleet import CuttableLog, Instance, fleet
from async_hybrid_cache.testing.log_world import LogWorld, cut_off, needs
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["StreamStaleness"]

BOUND_SECONDS = 1.0
DEAF_SECONDS = 3.0


async def oldest_served(writer: Instance, reader: Instance) -> float:
    """The greatest age, in seconds since its removal was acknowledged, of what `reader` returns under writes."""
    removed_at: dict[int, float] = {}
    oldest = 0.0
    until = monotonic() + DEAF_SECONDS
    while monotonic() < until:
        version = await reader.read("key") or 0
        assert not (await writer.write("key")).queued
        removed_at[version] = removed_at.get(version, monotonic())
        asked_at = monotonic()
        served = await reader.read("key") or 0
        if served in removed_at:
            oldest = max(oldest, asked_at - removed_at[served])
        await asyncio.sleep(0.01)
    return oldest


class StreamStaleness:
    """How old a value may be where one instance hears nothing, and reading what was written elsewhere."""

    @promise(3, fault="one instance cut")
    @promise(9, fault="one instance cut")
    @scenario
    async def test_an_instance_that_is_cut_off_serves_nothing_older_than_its_bound(
        self, world: LogWorld, record_property: Callable[[str, object], None]
    ) -> None:
        far_log = CuttableLog(world.make())
        options = CacheOptions(max_staleness_seconds=BOUND_SECONDS)
        async with fleet(world.make, lambda: far_log, options=options) as caches:
            near, far = caches.instances
            await caches.write_all(["key"])
            await caches.fresh(["key"])
            far_log.cut()
            oldest = await oldest_served(near, far)
            far_log.heal()
            record_property("measured", f"oldest value served while cut off: {oldest:.3f} s, bound {BOUND_SECONDS:g} s")
            # it was deaf, or the bound was not put to the test
            assert 0 < oldest < BOUND_SECONDS
            await caches.fresh(["key"])

    @promise(3, fault="one instance stalled")
    @needs("has_server")
    @scenario
    async def test_an_instance_whose_connections_stalled_serves_nothing_older_than_its_bound(
        self, world: LogWorld, record_property: Callable[[str, object], None]
    ) -> None:
        options = CacheOptions(max_staleness_seconds=BOUND_SECONDS)
        async with fleet(world.make, world.make_distant, options=options) as caches:
            near, far = caches.instances
            await caches.write_all(["key"])
            await caches.fresh(["key"])
            with cut_off(world, "stalled"):
                oldest = await oldest_served(near, far)
            record_property("measured", f"oldest value served while stalled: {oldest:.3f} s, bound {BOUND_SECONDS:g} s")
            assert 0 < oldest < BOUND_SECONDS
            await caches.fresh(["key"])

    @promise(4, fault="one instance cut")
    @scenario
    async def test_a_read_at_a_position_sees_the_write_also_where_nothing_is_heard(self, world: LogWorld) -> None:
        far_log = CuttableLog(world.make())
        async with fleet(world.make, lambda: far_log) as caches:
            near, far = caches.instances
            for _ in range(10):
                await far.read("key")
                receipt = await near.write("key")
                assert await far.read("key", at_least=receipt) == await near.read("key")
            far_log.cut()
            before = await far.read("key")
            receipt = await near.write("key")
            assert await far.read("key") == before
            assert await far.read("key", at_least=receipt) == await near.read("key") != before
            far_log.heal()
            await caches.fresh(["key"])

    @promise(4, fault="nothing fails")
    @scenario
    async def test_a_barrier_returns_once_every_instance_has_applied_the_position(self, world: LogWorld) -> None:
        async with fleet(world.make, world.make, world.make) as caches:
            near, *others = caches.instances
            for _ in range(5):
                await caches.fresh(["key"])
                receipt = await near.write("key")
                await near.cache.barrier(receipt)
                # no read waits for anything after that
                assert [await one.read("key") for one in others] == [await near.read("key")] * 2
            assert {one.instance for one in await near.cache.fleet()} == {
                one.stream.instance for one in caches.instances
            }

    @promise(4, fault="one instance cut")
    @scenario
    async def test_a_barrier_waits_for_one_that_is_cut_off_until_its_bound_has_passed(self, world: LogWorld) -> None:
        far_log = CuttableLog(world.make())
        options = CacheOptions(max_staleness_seconds=BOUND_SECONDS)
        async with fleet(world.make, lambda: far_log, options=options) as caches:
            near, far = caches.instances
            await near.cache.barrier(await near.write("key"))
            await caches.fresh(["key"])
            far_log.cut()
            await far.read("key")
            receipt = await near.write("key")
            begun_at = monotonic()
            await near.cache.barrier(receipt)
            assert monotonic() - begun_at >= BOUND_SECONDS
            assert await far.read("key") == await near.read("key")
            far_log.heal()
