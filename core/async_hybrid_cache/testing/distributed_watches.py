"""What every `DistributedCache` that is `Watchable` does besides."""

from __future__ import annotations

import asyncio

import pytest

from async_hybrid_cache.distributed import DistributedCache, Hit, Miss, Watchable
from async_hybrid_cache.testing.distributed_contract import fill, get, no_lease, token_for
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache.testing.worlds import DistributedWorld, scenario

__all__ = ["WatchContract"]


def watchable(l2: DistributedCache) -> Watchable:
    assert isinstance(l2, Watchable)
    return l2


class WatchContract:
    """Who waits for a lease knows for how long at most, and is woken when it ends."""

    @scenario
    async def test_a_miss_tells_for_how_long_somebody_else_holds_the_lease(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        assert await get(l2, "key", lease_seconds=0) == Miss(None)
        await token_for(l2, "key", lease_seconds=30)
        await l2.lease("scope", "set", lease_seconds=600)
        for handle in (l2, other):
            for key, seconds in (("key", 30), ("set", 600)):
                for wanted in (0, 5):
                    found = await get(handle, key, lease_seconds=wanted)
                    assert isinstance(found, Miss)
                    assert seconds - 10 < found.held_seconds <= seconds

    @pytest.mark.parametrize("end", ["fill", "release", "delete", "delete many", "lease", "clear scope", "clear all"])
    @scenario
    async def test_who_watches_is_woken(self, world: DistributedWorld, end: str) -> None:
        l2, other = await world.opened(), await world.opened()
        token = await token_for(l2, "key")
        async with watchable(other).watch("scope", "key") as changed, watchable(l2).watch("scope", "key") as own:
            assert no_lease(await get(other, "key"))
            assert not changed.is_set()
            match end:
                case "fill":
                    assert await fill(l2, "key", token)
                case "release":
                    await l2.release("scope", "key", token=token)
                case "delete":
                    await l2.delete("scope", ["key"])
                case "delete many":
                    await l2.delete("scope", [*(f"key-{n}" for n in range(300)), "key"])
                case "lease":
                    await l2.lease("scope", "key", lease_seconds=30)
                case "clear scope":
                    await l2.clear("scope")
                case _:
                    await l2.clear(None)
            async with asyncio.timeout(5):
                await changed.wait()
                await own.wait()
        found = await get(other, "key")
        assert isinstance(found, Hit) if end == "fill" else no_lease(found) is (end == "lease")

    @scenario
    async def test_each_key_wakes_its_own(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        keys = [f"key-{number}" for number in range(40)]
        tokens = [await token_for(l2, key) for key in keys]

        async def wait(key: str) -> bytes:
            while True:
                async with watchable(other).watch("scope", key) as changed:
                    if isinstance(found := await get(other, key), Hit):
                        return found.data
                    waiting.add(key)
                    await changed.wait()

        waiting: set[str] = set()
        waits = [asyncio.create_task(wait(key)) for key in keys]
        await eventually(lambda: len(waiting) == len(keys))
        last, last_key, last_token = waits.pop(), keys.pop(), tokens.pop()
        await asyncio.gather(*(fill(l2, key, token, key.encode()) for key, token in zip(keys, tokens, strict=True)))
        async with asyncio.timeout(5):
            assert await asyncio.gather(*waits) == [key.encode() for key in keys]
        assert await fill(l2, last_key, last_token)
        async with asyncio.timeout(5):
            assert await last == b"data"

    @scenario
    async def test_what_changed_before_wakes_nobody_who_comes_later(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        for _ in range(3):
            token = await token_for(l2, "key")
            async with watchable(other).watch("scope", "key") as changed:
                await l2.release("scope", "key", token=token)
                async with asyncio.timeout(5):
                    await changed.wait()
        await token_for(l2, "key")
        async with watchable(other).watch("scope", "key") as changed, watchable(other).watch("scope", "other"):
            assert no_lease(await get(other, "key"))
            assert not changed.is_set()

    @scenario
    async def test_a_watch_may_be_given_up(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        token = await token_for(l2, "key")

        async def wait() -> None:
            async with watchable(other).watch("scope", "key") as changed:
                await changed.wait()

        for turns in range(30):
            task = asyncio.create_task(wait())
            for _ in range(turns):
                await asyncio.sleep(0.0002)
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()
        async with watchable(other).watch("scope", "key") as changed:
            assert await fill(l2, "key", token)
            async with asyncio.timeout(5):
                await changed.wait()

    @scenario
    async def test_closing_wakes_who_watches(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        async with watchable(l2).watch("scope", "key") as changed:
            await l2.close()
            async with asyncio.timeout(5):
                await changed.wait()
        await l2.open()
        async with watchable(l2).watch("scope", "key") as changed:
            assert not changed.is_set()
