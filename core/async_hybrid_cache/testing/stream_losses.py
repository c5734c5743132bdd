"""The promises of the stream where the log is well, or has lost something."""

from __future__ import annotations

import asyncio

from async_hybrid_cache.testing.fleet import CuttableLog, fleet
from async_hybrid_cache.testing.log_world import LogWorld, needs
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache.testing.worlds import scenario

__all__ = ["StreamLosses"]

KEYS = [f"key-{number}" for number in range(20)]


class StreamLosses:
    """Caches at shipped defaults: every invalidation is applied, or L1 is reset and the gap is counted."""

    @promise(1, fault="nothing fails")
    @scenario
    async def test_every_instance_applies_every_removal(self, world: LogWorld) -> None:
        async with fleet(world.make, world.make, world.make) as caches:
            for _ in range(3):
                await caches.write_all(KEYS)
                await caches.fresh(KEYS)
            await asyncio.gather(*(caches.write_all(KEYS, by=[one]) for one in caches.instances))
            await caches.fresh(KEYS)
            await caches.counted([0, 0, 0])

    @promise(5, fault="event told twice")
    @scenario
    async def test_a_frame_that_comes_again_changes_nothing(self, world: LogWorld) -> None:
        log = await world.opened()
        async with fleet(world.make, world.make) as caches:
            one, other = caches.instances
            receipts = [await one.write(key) for key in KEYS]
            # what is loaded before an event arrives may be evicted by it, as new as it is
            await eventually(lambda: other.stream.position == str(receipts[-1].position))
            await caches.fresh(KEYS)
            loads = [instance.loads for instance in caches.instances]
            for number, receipt in enumerate(receipts):
                assert receipt.position is not None
                (record,) = await log.read(receipt.position, 1, 0)
                # under its own id some logs would not take it a second time
                await log.append(record.data, f"again-{number}")

            def skipped() -> bool:
                return [stream.duplicates for stream in caches.streams()] == [len(KEYS), len(KEYS)]

            await eventually(skipped, message="the repeats were not recognised")
            await caches.fresh(KEYS)
            assert [one.loads, other.loads] == loads, "a repeat evicted what was loaded after the first"
            await caches.counted([0, 0])

    @promise(1, fault="one instance cut")
    @promise(5, fault="one instance cut")
    @scenario
    async def test_an_instance_cut_off_replays_exactly_what_it_missed(self, world: LogWorld) -> None:
        log = await world.opened()
        deaf = CuttableLog(world.make())
        async with fleet(world.make, lambda: deaf) as caches:
            well, cut = caches.instances
            await caches.write_all(KEYS)
            await caches.fresh(KEYS)
            head = str((await log.bounds()).head)
            # an own acknowledgement makes fresh before its echo is read
            await eventually(lambda: cut.stream.position == head)
            deaf.cut()
            await eventually(lambda: cut.stream.down_seconds is not None, message="the cut was not noticed")
            missed = [await well.write(key) for key in KEYS]
            replayed = cut.stream.events_replayed
            deaf.heal()
            await caches.fresh(KEYS)
            assert missed[-1].position is not None
            assert cut.stream.events_replayed == replayed + len(missed)
            await caches.counted([0, 0])

    @promise(1, fault="log trimmed")
    @scenario
    async def test_a_log_trimmed_past_one_instance_resets_that_one(self, world: LogWorld) -> None:
        log = await world.opened()
        deaf = CuttableLog(world.make())
        async with fleet(world.make, lambda: deaf) as caches:
            well, cut = caches.instances
            await caches.write_all(KEYS)
            await caches.fresh(KEYS)
            deaf.cut()
            await eventually(lambda: cut.stream.down_seconds is not None, message="the cut was not noticed")
            # several records, since a log may keep a few more than it is told to
            for _ in range(10):
                await caches.write_all(KEYS, by=[well])
            head = str((await log.bounds()).head)
            await eventually(lambda: well.stream.position == head)
            await world.trim(keep=1)
            deaf.heal()
            await caches.fresh(KEYS)
            await caches.counted([0, 1])
            await caches.works("trimmed")

    @promise(1, fault="log deleted")
    @scenario
    async def test_a_log_deleted_under_live_instances_resets_them_all(self, world: LogWorld) -> None:
        async with fleet(world.make, world.make, world.make) as caches:
            for turn in (1, 2):
                await caches.write_all(KEYS)
                await caches.fresh(KEYS)
                await world.delete()
                await caches.counted([turn] * 3)
                await caches.fresh(KEYS)
                await caches.works(f"deleted-{turn}")

    @promise(6, fault="log deleted")
    @scenario
    async def test_what_is_written_while_the_log_is_gone_arrives(self, world: LogWorld) -> None:
        async with fleet(world.make, world.make, world.make) as caches:
            await caches.write_all(KEYS)
            await caches.fresh(KEYS)
            await world.delete()
            await asyncio.gather(*(caches.write_all(KEYS, by=[one]) for one in caches.instances))
            await caches.counted([1, 1, 1])
            await caches.fresh(KEYS)
            await caches.works("gone")

    @promise(1, fault="older copy restored")
    @needs("survives_restart")
    @scenario
    async def test_a_restored_older_copy_resets_every_instance(self, world: LogWorld) -> None:
        async with fleet(world.make, world.make) as caches:
            await caches.write_all(KEYS)
            await world.back_up()
            await caches.fresh(KEYS)
            assert [stream.gap_total for stream in caches.streams()] == [0, 0]
            await caches.write_all(KEYS)
            await caches.fresh(KEYS)
            await world.restore()
            await caches.counted([1, 1])
            await caches.fresh(KEYS)
            await caches.works("restored")
