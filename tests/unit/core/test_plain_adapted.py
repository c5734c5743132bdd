"""What is made of a plain cache, call by call: leases that events and closing end, and what is looked at and told."""

from __future__ import annotations

import asyncio
import random

import pytest

from async_hybrid_cache import DistributedCacheError
from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.plain import AdaptedCache
from async_hybrid_cache.plain.entry import entry_key, generation_key
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysChanging, KeysExpired, KeysRemoved, ScopeCleared
from tests.unit.core.clock import ManualClock
from tests.unit.core.plain_memory import PlainMemory

OLD, CHANGED = Position(1, 1), Position(1, 2)


def adapted_on(plain: PlainMemory, clock: ManualClock | None = None) -> AdaptedCache:
    return AdaptedCache(plain, clock or ManualClock(), random.Random())


async def miss(cache: AdaptedCache) -> str:
    found = await cache.get("s", "k", oldest=ORIGIN, lease_seconds=10)
    assert isinstance(found, Miss)
    assert found.token
    return found.token


async def fill(cache: AdaptedCache, token: str, key: str = "k") -> bool:
    return await cache.fill("s", key, b"old", stamp=OLD, ttl=60, token=token)


@pytest.mark.parametrize(
    "event",
    [
        KeysRemoved("s", ("k",)),
        KeysExpired("s", ("k",)),
        KeysChanging("change", "s", ("k",), 30.0),
        ScopeCleared("s"),
        CacheCleared(),
    ],
)
def test_an_event_ends_the_lease_of_what_it_overtook_and_nothing_is_sent(event: Event) -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        cache = adapted_on(plain)
        token = await miss(cache)
        cache.heard(event, CHANGED)
        plain.calls.clear()
        assert not await fill(cache, token)
        assert plain.calls == []
        assert await fill(cache, await miss(cache)) is True, "the next lease is another one"

    asyncio.run(scenario())


def test_closing_ends_every_lease() -> None:
    async def scenario() -> None:
        cache = adapted_on(PlainMemory())
        token = await miss(cache)
        await cache.close()
        await cache.open()
        assert not await fill(cache, token)

    asyncio.run(scenario())


def test_a_clear_while_it_was_closed_is_noticed_when_it_is_opened() -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        cache = adapted_on(plain)
        assert await fill(cache, await miss(cache))
        await cache.close()
        await adapted_on(plain).clear("s")
        await cache.open()
        assert isinstance(await cache.get("s", "k", oldest=ORIGIN, lease_seconds=0), Miss)

    asyncio.run(scenario())


def test_a_refresh_that_deletes_an_overtaken_value_tells_of_it() -> None:
    async def scenario() -> None:
        cache, told = adapted_on(PlainMemory()), list[Event]()
        cache.on_overtaken = told.append
        assert await fill(cache, await miss(cache))
        cache.heard(KeysRemoved("s", ("k",)), CHANGED)
        await cache.lease("s", "k", lease_seconds=10)
        await cache.review(last=True)
        assert told == [KeysRemoved("s", ("k",))]

    asyncio.run(scenario())


def test_a_generation_that_was_asked_for_before_a_clear_was_heard_of_is_not_kept() -> None:
    class Overtaken(PlainMemory):
        async def get(self, key: str) -> object | None:
            found = await super().get(key)
            if key == generation_key("s") and self.calls.count("get") == 2:
                await other.clear("s")
                cache.heard(ScopeCleared("s"), CHANGED)
            return found

    async def scenario() -> None:
        assert await fill(other, await miss(other))
        await cache.get("s", "k", oldest=ORIGIN, lease_seconds=0)
        assert isinstance(await cache.get("s", "k", oldest=ORIGIN, lease_seconds=0), Miss)

    plain = Overtaken()
    cache, other = adapted_on(plain), adapted_on(PlainMemory(plain.values))
    asyncio.run(scenario())


def test_those_who_find_no_generation_at_once_go_by_the_same() -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        cache, other = adapted_on(plain), adapted_on(plain)
        token, _ = await asyncio.gather(miss(cache), miss(other))
        assert await fill(cache, token)
        assert isinstance(await other.get("s", "k", oldest=ORIGIN, lease_seconds=0), Hit)

    asyncio.run(scenario())


def test_one_asks_for_a_generation_and_the_others_go_on_with_what_was_known() -> None:
    async def scenario() -> None:
        plain, clock = PlainMemory(), ManualClock()
        cache = adapted_on(plain, clock)
        await miss(cache)
        clock.advance(11)
        plain.calls.clear()
        gets = (cache.get("s", str(number), oldest=ORIGIN, lease_seconds=0) for number in range(10))
        await asyncio.gather(*gets)
        assert plain.calls == ["get"] * (10 + 2)

    asyncio.run(scenario())


def test_a_fill_that_outlasts_its_lease_is_undone_where_somebody_else_has_the_next() -> None:
    async def scenario() -> None:
        plain, clock = PlainMemory(), ManualClock()
        cache = adapted_on(plain, clock)
        token = await miss(cache)

        async def next_lease() -> None:
            clock.advance(11)
            await miss(cache)

        plain.before["set"] = next_lease
        assert not await fill(cache, token)
        assert entry_key(("s", "k")) not in plain.values

    asyncio.run(scenario())


def test_a_key_that_cannot_be_read_holds_up_no_report() -> None:
    class Poisoned(PlainMemory):
        async def get(self, key: str) -> object | None:
            if key == entry_key(("s", "bad")):
                raise ValueError("no JSON")
            return await super().get(key)

    async def scenario() -> None:
        clock, told = ManualClock(), list[Event]()
        cache = adapted_on(Poisoned(), clock)
        cache.on_overtaken = told.append
        for key in ("bad", "good"):
            token = await cache.lease("s", key, lease_seconds=10)
            assert await fill(cache, token, key)
        cache.heard(KeysRemoved("s", ("bad", "good")), CHANGED)
        for _ in range(2):
            with pytest.raises(DistributedCacheError):
                await cache.review(last=False)
            clock.advance(0.5)
        assert told == [KeysRemoved("s", ("good",))]

    asyncio.run(scenario())
