"""A fill of a plain L2 that a removal overtook is deleted again, and followed by a new event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, InvalidationBus, StreamOptions
from async_hybrid_cache.plain import AdaptedCache
from async_hybrid_cache.plain.entry import entry_key
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import KeysRemoved
from tests.unit.core.gate import Gate
from tests.unit.core.plain_memory import PlainMemory
from tests.unit.core.scripted_log import ScriptedLog

KEY = entry_key(("default", "k"))


class Fleet:
    """Instances on one log and one plain cache. `truth` is what the database holds; loads begin at `asked`."""

    def __init__(self, name: str) -> None:
        self.values: dict[str, object] = {}
        self.truth = "old"
        self.loads = 0
        self._name = name

    @asynccontextmanager
    async def instance(self, **stream: Any) -> AsyncIterator[tuple[AsyncHybridCache, PlainMemory]]:
        plain = PlainMemory(self.values)
        options = StreamOptions(**stream)
        bus = InvalidationBus(lambda: ScriptedLog(self._name), options)
        cache = AsyncHybridCache(distributed_cache=plain, invalidation_bus=bus, distributed_timeout_seconds=5.0)
        async with cache:
            yield cache, plain

    async def load(self) -> str:
        self.loads += 1
        return self.truth

    async def read(self, cache: AsyncHybridCache) -> str:
        return await cache.get_or_set("k", self.load)

    async def change(self, cache: AsyncHybridCache, *others: AsyncHybridCache) -> None:
        """Let `cache` tell of a new truth, and wait until the others have heard of it."""
        self.truth = "new"
        receipt = await cache.remove("k")
        for other in others:
            await eventually(lambda other=other: position(other) >= (receipt.position or ORIGIN))

    @property
    def stored(self) -> bool:
        return KEY in self.values


def overtaken(cache: AsyncHybridCache) -> int:
    return cache.stats().distributed.fills_overtaken


def appended(cache: AsyncHybridCache) -> int:
    stream = cache.stats().stream
    assert stream is not None
    return stream.events_appended


def position(cache: AsyncHybridCache) -> Position:
    stream = cache.stats().stream
    assert stream is not None
    return Position.parse(stream.position)


async def fill(fleet: Fleet, cache: AsyncHybridCache) -> None:
    """A read that loads, and what it stores in L2."""
    fills = cache.stats().distributed.fills
    await fleet.read(cache)
    await eventually(lambda: cache.stats().distributed.fills == fills + 1)


async def settled(fleet: Fleet, slow: AsyncHybridCache, *others: AsyncHybridCache, events: int) -> None:
    """The overtaken value is found by `slow` and deleted, announced once as its event `events`, and nobody has it."""
    await eventually(lambda: overtaken(slow) == 1 and not fleet.stored)
    await eventually(lambda: appended(slow) == events)
    for cache in (slow, *others):

        async def fresh(cache: AsyncHybridCache = cache) -> bool:
            return await fleet.read(cache) == "new"

        await eventually(fresh, timeout=2.0)


def test_a_load_that_was_overtaken_is_not_stored_at_all() -> None:
    async def scenario() -> None:
        fleet, gate = Fleet("plain-load"), Gate()
        async with fleet.instance() as (a, _), fleet.instance() as (b, _):
            load = asyncio.create_task(b.get_or_set("k", gate))
            await gate.called()
            await fleet.change(a, b)
            gate.calls[0].set_result("old")
            assert await load == "old"
            await b.stop()
            assert not fleet.stored
            assert overtaken(b) == 0

    asyncio.run(scenario())


def test_a_set_under_way_when_the_event_is_heard_is_deleted_again() -> None:
    async def scenario() -> None:
        fleet = Fleet("plain-under-way")
        async with fleet.instance() as (a, _), fleet.instance() as (b, plain):
            await b.set("warm", 1)
            events = appended(b) + 1
            plain.before["set"] = lambda: fleet.change(a, b)
            assert await fleet.read(b) == "old"
            await eventually(lambda: b.stats().distributed.fills_refused == 1)
            assert not fleet.stored, "the maintenance was not waited for"
            assert appended(b) == events - 1
            await settled(fleet, b, a, events=events)

    asyncio.run(scenario())


def test_a_load_that_begins_after_the_event_is_stored_though_an_overtaken_one_still_runs() -> None:
    async def scenario() -> None:
        fleet, gate = Fleet("plain-next-load"), Gate()
        async with fleet.instance() as (a, _), fleet.instance() as (b, _):
            load = asyncio.create_task(b.get_or_set("k", gate))
            await gate.called()
            await fleet.change(a, b)
            await fill(fleet, b)
            gate.calls[0].set_result("old")
            assert await load == "old"
            assert await a.get("k") == "new"

    asyncio.run(scenario())


def test_a_set_between_the_delete_and_the_event_is_deleted_again() -> None:
    """The process that filled knows of nothing when its set returns; the event finds the value in doubt."""

    async def scenario() -> None:
        fleet = Fleet("plain-between")
        async with fleet.instance() as (a, deleting), fleet.instance() as (b, _):
            events = appended(b) + 1
            deleting.after["delete"] = lambda: fill(fleet, b)
            await a.remove("k")
            fleet.truth = "new"
            await settled(fleet, b, a, events=events)

    asyncio.run(scenario())


def test_who_knows_of_no_event_reads_it_until_then_and_not_after() -> None:
    """The window that stays open: an instance that hears of the removal too late, or never."""

    async def scenario() -> None:
        fleet, looked = Fleet("plain-window"), asyncio.Event()
        async with fleet.instance() as (a, deleting), fleet.instance() as (b, plain):
            events = appended(b) + 1

            async def fill_late() -> None:
                await fill(fleet, b)
                plain.before["get"] = looked.wait

            deleting.after["delete"] = fill_late
            await a.remove("k")
            fleet.truth = "new"
            assert fleet.stored
            async with fleet.instance(replay_records=0) as (c, _):
                assert await fleet.read(c) == "old", "it started after the event, and is to be told by the second one"
                looked.set()
                await settled(fleet, b, a, c, events=events)

    asyncio.run(scenario())


def test_who_has_heard_of_the_event_refuses_it_deletes_it_and_announces_it() -> None:
    async def scenario() -> None:
        fleet, looked = Fleet("plain-refused"), asyncio.Event()
        async with fleet.instance() as (a, deleting), fleet.instance() as (b, plain):

            async def fill_late() -> None:
                await fill(fleet, b)
                plain.before["get"] = looked.wait

            deleting.after["delete"] = fill_late
            await a.remove("k")
            fleet.truth = "new"
            async with fleet.instance(replay_records=0) as (c, _), fleet.instance() as (late, _):
                assert await fleet.read(c) == "old"
                assert await late.get("k") is None
                assert not fleet.stored
                await eventually(lambda: c.stats().entries == 0, message="who finds it announces it")
            assert overtaken(late) == 1
            looked.set()

    asyncio.run(scenario())


@pytest.mark.parametrize("own", [True, False])
def test_a_set_whose_answer_is_lost_is_deleted_again(own: bool) -> None:
    async def scenario() -> None:
        fleet = Fleet(f"plain-lost-answer-{own}")
        async with fleet.instance() as (a, _), fleet.instance() as (b, plain):

            async def lose() -> None:
                entry = fleet.values[KEY]
                await fleet.change(b if own else a, b)
                fleet.values[KEY] = entry  # the delete was done before the set
                raise OSError("the connection broke before the answer")

            await b.set("warm", 1)
            events = appended(b) + 1 + own
            plain.after["set"] = lose
            assert await fleet.read(b) == "old"
            await settled(fleet, b, a, events=events)

    asyncio.run(scenario())


def test_a_delete_that_fails_is_tried_again_and_only_then_announced() -> None:
    async def scenario() -> None:
        fleet = Fleet("plain-retried")
        async with fleet.instance() as (a, deleting), fleet.instance() as (b, plain):
            events = appended(b) + 1

            async def fill_late() -> None:
                await fill(fleet, b)
                plain.failing = {"delete"}

            deleting.after["delete"] = fill_late
            await a.remove("k")
            fleet.truth = "new"
            await eventually(lambda: b.stats().distributed.breaker_opened == 1)
            assert appended(b) == events - 1
            assert await fleet.read(b) == "new"
            plain.failing.clear()
            await settled(fleet, b, a, events=events)

    asyncio.run(scenario())


def test_a_delete_that_fails_is_tried_again_though_another_removal_is_announced_meanwhile() -> None:
    """The other removal may have deleted before the overtaken value was stored."""

    async def scenario() -> None:
        fleet = Fleet("plain-retried-anyway")
        bus = InvalidationBus(lambda: ScriptedLog("plain-retried-anyway"))
        async with fleet.instance() as (a, deleting), fleet.instance() as (b, plain):

            async def fill_late() -> None:
                await fill(fleet, b)
                plain.failing = {"delete"}

            deleting.after["delete"] = fill_late
            await a.remove("k")
            fleet.truth = "new"
            await eventually(lambda: b.stats().distributed.breaker_opened == 1)
            async with AsyncHybridCache(invalidation_bus=bus) as announcing:
                await fleet.change(announcing, b)
            plain.failing.clear()
            await eventually(lambda: not fleet.stored)

    asyncio.run(scenario())


def test_a_set_whose_answer_is_lost_is_deleted_though_another_removal_is_announced_meanwhile() -> None:
    async def scenario() -> None:
        fleet = Fleet("plain-lost-anyway")
        bus = InvalidationBus(lambda: ScriptedLog("plain-lost-anyway"))
        async with fleet.instance() as (b, plain), AsyncHybridCache(invalidation_bus=bus) as announcing:

            async def lose() -> None:
                await fleet.change(announcing, b)
                raise OSError("the connection broke before the answer")

            await b.set("warm", 1)
            plain.after["set"] = lose
            assert await fleet.read(b) == "old"
            await eventually(lambda: b.stats().distributed.breaker_opened == 1)
            await fleet.change(announcing, b)
            await eventually(lambda: not fleet.stored)

    asyncio.run(scenario())


def test_a_stop_does_not_wait_until_all_doubts_are_settled() -> None:
    class Slow(PlainMemory):
        async def get(self, key: str) -> object | None:
            await asyncio.sleep(0.1)
            return await super().get(key)

    async def scenario() -> None:
        cache = AsyncHybridCache(distributed_cache=Slow(), distributed_timeout_seconds=5.0)
        async with asyncio.timeout(10), cache:
            l2 = cache._l2.cache  # type: ignore[union-attr]
            assert isinstance(l2, AdaptedCache)
            names = [str(number) for number in range(10_000)]
            for name in names:
                l2._fills.begin(("default", name), ORIGIN)
            l2.heard(KeysRemoved("default", tuple(names)), Position(1, 1))

    asyncio.run(scenario())


def test_a_change_of_what_was_filled_long_ago_costs_one_look_and_no_event() -> None:
    async def scenario() -> None:
        fleet = Fleet("plain-quiet")
        async with fleet.instance() as (a, _), fleet.instance() as (b, plain):
            for reload in (False, True):
                await fill(fleet, b)
                await fleet.change(a, b)
                if reload:
                    await fill(fleet, b)
                looked = plain.calls.count("get")
                await b.stop()  # looks at what is left to look at
                assert plain.calls.count("get") == looked + (not reload)
                assert overtaken(b) == 0
                assert fleet.stored == reload
                await b.start()

    asyncio.run(scenario())


def test_what_a_clear_took_is_not_found_again() -> None:
    async def scenario() -> None:
        fleet = Fleet("plain-cleared")
        async with fleet.instance() as (a, _), fleet.instance() as (b, _):
            await fill(fleet, b)
            entry = fleet.values[KEY]
            await a.clear(scope="default")
            await fleet.change(a, b)
            fleet.values[KEY] = entry
            await b.stop()
            assert overtaken(b) == 0

    asyncio.run(scenario())


def test_own_changes_leave_no_doubt() -> None:
    async def scenario() -> None:
        fleet = Fleet("plain-own")
        async with fleet.instance() as (a, plain):
            for _ in range(5):
                await fill(fleet, a)
                await a.set("k", "new")
                await a.remove("k")
            await fill(fleet, a)
            before = plain.calls.count("get")
            await a.stop()
            assert plain.calls.count("get") == before
            assert overtaken(a) == 0
            assert fleet.stored

    asyncio.run(scenario())


def test_a_removal_during_its_own_set_is_deleted_again() -> None:
    async def scenario() -> None:
        fleet = Fleet("plain-own-overtaken")
        async with fleet.instance() as (a, plain), fleet.instance() as (b, _):
            await a.set("warm", 1)
            events = appended(a) + 2
            plain.before["set"] = lambda: fleet.change(a)
            assert await fleet.read(a) == "old"
            await settled(fleet, a, b, events=events)

    asyncio.run(scenario())


def test_without_a_log_a_removal_during_its_own_set_is_deleted_again() -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        async with AsyncHybridCache(distributed_cache=plain) as cache:

            async def load() -> str:
                plain.before["set"] = lambda: cache.remove("k")
                return "old"

            await cache.set("warm", 1)
            assert await cache.get_or_set("k", load) == "old"
            await eventually(lambda: overtaken(cache) == 1)
            assert await cache.get("k") is None
            assert KEY not in plain.values

    asyncio.run(scenario())


def test_many_instances_on_one_key_come_to_rest() -> None:
    """An event about an overtaken fill overtakes others in turn; that must not go on for ever."""

    async def scenario() -> None:
        fleet = Fleet("plain-rest")
        async with AsyncExitStack() as stack:
            caches = [(await stack.enter_async_context(fleet.instance()))[0] for _ in range(4)]
            stop = asyncio.Event()

            async def read_on(cache: AsyncHybridCache) -> None:
                while not stop.is_set():
                    await fleet.read(cache)
                    await asyncio.sleep(0)

            reading = [asyncio.create_task(read_on(cache)) for cache in caches for _ in range(3)]
            for _ in range(50):
                for cache in caches:
                    await fleet.change(cache)

            async def at_rest() -> bool:
                events = sum(map(appended, caches))
                await asyncio.sleep(1.2)
                return sum(map(appended, caches)) == events

            await eventually(at_rest, timeout=20)
            stop.set()
            await asyncio.gather(*reading)
            assert {await fleet.read(cache) for cache in caches} == {"new"}

    asyncio.run(scenario())
