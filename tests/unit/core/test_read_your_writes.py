"""Promise 4: reads at a position, and the token that carries it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, ConfigurationError, InvalidationBus, Position, Receipt
from async_hybrid_cache.positions import ORIGIN
from async_hybrid_cache.stream.arrivals import Arrivals
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store


class Pair:
    """A writer, and a reader that can be made deaf."""

    def __init__(self, *, shared: bool = False) -> None:
        self.far_log = ScriptedLog()
        near_log = ScriptedLog()
        near_log._records = self.far_log._records
        store = Store()
        self.l2 = SharedMemory(store) if shared else None
        self.near = AsyncHybridCache(
            invalidation_bus=InvalidationBus(lambda: near_log),
            distributed_cache=SharedMemory(store) if shared else None,
        )
        self.far = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: self.far_log), distributed_cache=self.l2)
        self.version = 1
        self.loads = 0

    async def load(self) -> int:
        self.loads += 1
        version = self.version
        await asyncio.sleep(0)
        return version

    async def write(self) -> Receipt:
        self.version += 1
        receipt = await self.near.remove("k")
        assert not receipt.queued
        return receipt


@asynccontextmanager
async def pair(*, shared: bool = False) -> AsyncIterator[Pair]:
    made = Pair(shared=shared)
    async with made.near, made.far:
        yield made


@pytest.mark.parametrize("form", ["position", "token", "receipt"])
def test_a_read_waits_for_its_position(form: str) -> None:
    async def scenario() -> None:
        async with pair() as p:
            p.far._loader.get_past = None  # type: ignore[method-assign, assignment]  # waiting is enough
            for _ in range(20):
                assert await p.far.get_or_set("k", p.load) == p.version
                receipt = await p.write()
                at = {"position": receipt.position, "token": str(receipt.position), "receipt": receipt}[form]
                assert await p.far.get_or_set("k", p.load, at_least=at) == p.version

    asyncio.run(scenario())


def test_a_position_that_is_applied_costs_no_load() -> None:
    async def scenario() -> None:
        async with pair() as p:
            receipt = await p.write()
            assert await p.near.get_or_set("k", p.load) == 2
            assert await p.near.get_or_set("k", p.load, at_least=receipt) == 2
            assert await p.near.get("k", at_least=receipt) == 2
            assert await p.near.scope("default").get("k", at_least=receipt) == 2
            assert p.loads == 1

    asyncio.run(scenario())


def test_one_who_hears_nothing_goes_past_l1_and_older_entries_of_l2() -> None:
    async def scenario() -> None:
        async with pair(shared=True) as p:
            assert await p.far.get_or_set("k", p.load) == 1
            p.far_log.deaf = True
            assert p.l2 is not None
            await eventually(lambda: p.l2 and p.l2.store.entries)
            old = dict(p.l2.store.entries)
            receipt = await p.write()
            p.l2.store.entries.update(old)  # as if the delete had failed
            assert await p.far.get_or_set("k", p.load) == 1
            assert await p.far.get("k", "nothing", at_least=receipt) == "nothing"
            p.loads = 0
            reads = (p.far.get_or_set("k", p.load, at_least=receipt) for _ in range(20))
            assert await asyncio.gather(*reads) == [2] * 20
            assert p.loads == 1

    asyncio.run(scenario())


def test_what_l2_holds_of_that_position_will_do() -> None:
    async def scenario() -> None:
        async with pair(shared=True) as p:
            assert await p.far.get_or_set("k", p.load) == 1
            p.far_log.deaf = True
            receipt = await p.write()
            assert await p.near.get_or_set("k", p.load) == 2
            p.loads = 0
            assert await p.far.get("k", at_least=receipt) == 2
            assert p.loads == 0

    asyncio.run(scenario())


def test_cached_functions_and_methods_keep_their_signature() -> None:
    async def scenario() -> None:
        async with pair() as p:

            @p.far.cached("k", scope="default", options=CacheOptions(ttl_seconds=600))
            async def load() -> int:
                return p.version

            class Service:
                @p.far.cached("k:{number}", scope="default")
                async def load(self, number: int) -> int:
                    return p.version * number

            service = Service()
            assert (await load(), await service.load(10)) == (1, 10)
            p.far_log.deaf = True
            receipt = await p.write()
            await p.near.remove("k:10")
            assert (await load(), await service.load(10)) == (1, 10)
            assert await load.at_least(receipt)() == 2
            assert await service.load.at_least(str(receipt.position))(10) == 20
            assert await load.at_least(None)() == 2

    asyncio.run(scenario())


def test_without_a_bus_or_a_position_any_value_will_do() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        assert await cache.get_or_set("k", lambda: asyncio.sleep(0, 1)) == 1
        assert await cache.get("k", at_least=Position(7, 7)) == 1
        assert await cache.get("k", at_least=await cache.remove("other")) == 1

    asyncio.run(scenario())


def test_what_names_no_position_is_refused() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache()
        with pytest.raises(ConfigurationError, match="not a position: 'seven'"):
            await cache.get("k", at_least="seven")
        with pytest.raises(ConfigurationError, match="a position, its token or a receipt, not int"):
            await cache.get("k", at_least=7)  # type: ignore[arg-type]

    asyncio.run(scenario())


def test_arrivals_let_go_whose_position_is_reached_and_forget_who_left() -> None:
    async def scenario() -> None:
        arrivals = Arrivals()
        waiting = {n: asyncio.ensure_future(arrivals.wait(Position(7, n), 60)) for n in (3, 1, 2)}
        leaving = asyncio.ensure_future(arrivals.wait(Position(7, 9), 60))
        assert not await arrivals.wait(Position(7, 4), 0.001)
        leaving.cancel()
        await asyncio.wait({leaving})
        arrivals.reach(Position(7, 2))
        await eventually(lambda: waiting[1].done() and waiting[2].done())
        assert not waiting[3].done()
        assert await arrivals.wait(ORIGIN, 60)
        arrivals.reach(Position(8, 1))
        assert all(await asyncio.gather(*waiting.values()))
        assert arrivals._waiting == []

    asyncio.run(scenario())
