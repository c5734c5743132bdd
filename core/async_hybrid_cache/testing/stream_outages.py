"""The promises of the stream where the server dies, freezes, or is out of reach for one instance."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from async_hybrid_cache.testing.fleet import CuttableLog, Fleet, Instance, fleet
from async_hybrid_cache.testing.log_calls import once, read_all, reopened
from async_hybrid_cache.testing.log_world import LogWorld, broken, cut_off, needs
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache.testing.worlds import scenario
from async_hybrid_cache_codecs.events import KeysRemoved
from async_hybrid_cache_codecs.frames import open_frame

__all__ = ["StreamOutages"]

KEYS = [f"key-{number}" for number in range(20)]


async def removals(world: LogWorld) -> list[str]:
    """The keys that the log tells of, in order, each sealed frame counted once."""
    log = world.handle()
    await reopened(log)
    return [
        key
        for record in once(await read_all(log))
        for event in open_frame(record.data).events
        if isinstance(event, KeysRemoved)
        for key in event.keys
    ]


async def queue(instance: Instance, keys: Sequence[str]) -> None:
    """Write `keys` one after the other, while the log cannot be reached."""
    for key in keys:
        assert (await instance.write(key)).queued


async def noticed(caches: Fleet, *numbers: int) -> None:
    """Wait until these instances know that they cannot reach the log."""

    def all_know() -> bool:
        return all(caches.instances[number].stream.down_seconds is not None for number in numbers)

    await eventually(all_know, timeout=5, message="the outage was not noticed")


class StreamOutages:
    """Caches at shipped defaults: what happens during an outage waits, and arrives in order, once, without a gap."""

    @promise(1, fault="server {how}, or file locked")
    @promise(6, fault="server {how}, or file locked")
    @pytest.mark.parametrize("how", ["killed", "frozen"])
    @needs("has_server")
    @scenario
    async def test_removals_queued_while_the_server_was_gone_arrive_in_order(self, world: LogWorld, how: str) -> None:
        queued = [[f"{number}-{key}" for key in range(15)] for number in range(3)]
        async with fleet(world.make, world.make, world.make) as caches:
            await caches.write_all(KEYS)
            await caches.fresh(KEYS)
            async with broken(world, how):
                await noticed(caches, 0, 1, 2)
                await asyncio.gather(*(queue(one, keys) for one, keys in zip(caches.instances, queued, strict=True)))
            await caches.fresh([key for keys in queued for key in keys])
            await eventually(lambda: not any(stream.outbox for stream in caches.streams()))
            told = await removals(world)
            for number, keys in enumerate(queued):
                assert [key for key in told if key.startswith(f"{number}-")] == keys
            await caches.counted([0, 0, 0])
            await caches.works(how)

    @promise(1, fault="one instance {how}")
    @promise(6, fault="one instance {how}")
    @pytest.mark.parametrize("how", ["cut", "stalled"])
    @needs("has_server")
    @scenario
    async def test_one_instance_out_of_reach_catches_up_and_nobody_else_notices(
        self, world: LogWorld, how: str
    ) -> None:
        async with fleet(world.make, world.make, world.make_distant) as caches:
            near, other, far = caches.instances
            await caches.write_all(KEYS)
            await caches.fresh(KEYS)
            with cut_off(world, how):
                await noticed(caches, 2)
                await caches.write_all(KEYS, by=[near, other])
                await caches.fresh(KEYS, of=[near, other])
                own = [f"own-{number}" for number in range(5)]
                assert all([(await far.write(key)).queued for key in own])
            await caches.fresh([*KEYS, *own])
            await eventually(lambda: not far.stream.outbox)
            assert [key for key in await removals(world) if key.startswith("own-")] == own
            await caches.counted([0, 0, 0])
            assert [near.stream.reconnects, other.stream.reconnects] == [0, 0]
            await caches.works(how)

    @promise(6, fault="one instance cut")
    @scenario
    async def test_what_an_instance_removes_while_it_is_cut_off_arrives_in_order(self, world: LogWorld) -> None:
        deaf = CuttableLog(world.make())
        async with fleet(world.make, lambda: deaf) as caches:
            _, cut = caches.instances
            await caches.write_all(KEYS)
            await caches.fresh(KEYS)
            deaf.cut()
            await noticed(caches, 1)
            own = [f"own-{number}" for number in range(15)]
            await queue(cut, own)
            deaf.heal()
            await caches.fresh([*KEYS, *own])
            await eventually(lambda: not cut.stream.outbox)
            assert [key for key in await removals(world) if key.startswith("own-")] == own
            await caches.counted([0, 0])
