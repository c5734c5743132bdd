"""`barrier` and `fleet`: who has applied what, and when one that is silent counts as gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    BarrierTimeout,
    CacheOptions,
    InvalidationBus,
    LogUnavailable,
    Position,
    Receipt,
    StreamOptions,
)
from async_hybrid_cache.stream.roster import Roster, heartbeat_seconds
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import InstanceSeen, InstanceStarted, InstanceStopped, KeysRemoved
from async_hybrid_cache_codecs.frames import OpenedFrame, open_frame
from tests.unit.core.clock import ManualClock
from tests.unit.core.scripted_log import ScriptedLog


class Members:
    """Three caches on one log, each with a handle that can be made deaf."""

    def __init__(self, bound: float | None) -> None:
        self.clock = ManualClock()
        self.logs = [ScriptedLog() for _ in range(3)]
        for log in self.logs:
            log._records = self.logs[0]._records
        self.caches = [
            AsyncHybridCache(
                invalidation_bus=InvalidationBus(lambda log=log: log, StreamOptions(instance_id=f"i{number}")),  # type: ignore[misc]
                options=CacheOptions(max_staleness_seconds=bound),
                clock=self.clock,
            )
            for number, log in enumerate(self.logs)
        ]

    async def removed(self) -> Position:
        position = (await self.caches[0].remove("k")).position
        assert position is not None
        return position


@asynccontextmanager
async def members(bound: float | None = 10) -> AsyncIterator[Members]:
    made = Members(bound)
    async with AsyncExitStack() as stack:
        for cache in made.caches:
            await stack.enter_async_context(cache)
        yield made


def applied(cache: AsyncHybridCache) -> Position:
    stats = cache.stats().stream
    assert stats is not None
    return Position.parse(stats.position)


def test_nothing_is_served_after_the_goodbye_by_an_instance_that_stops() -> None:
    async def scenario() -> None:
        kept_at_goodbye: list[int] = []

        class Watched(ScriptedLog):
            async def append(self, record: bytes, id: str) -> Position:
                if any(isinstance(event, InstanceStopped) for event in open_frame(record).events):
                    kept_at_goodbye.append(len(cache.scope_state("default").store.entries))
                return await super().append(record, id)

        async with AsyncHybridCache(invalidation_bus=InvalidationBus(Watched)) as cache:
            await cache.set("k", 1)
            assert cache.scope_state("default").store.entries
        assert kept_at_goodbye == [0]

    asyncio.run(scenario())


def test_a_barrier_returns_once_everybody_has_applied_the_position() -> None:
    async def scenario() -> None:
        async with members() as m:
            for _ in range(10):
                position = await m.removed()
                await m.caches[0].barrier(position)
                assert all(applied(cache) >= position for cache in m.caches)
            await m.caches[2].barrier(str(position))
            await m.caches[1].barrier(Receipt(position, False))

    asyncio.run(scenario())


def test_one_that_is_silent_is_waited_for_until_its_own_bound_has_passed() -> None:
    async def scenario() -> None:
        async with members(bound=10) as m:
            await m.caches[0].barrier(await m.removed())
            m.logs[2].away = True
            waiting = asyncio.ensure_future(m.caches[0].barrier(await m.removed()))
            await eventually(lambda: m.caches[0]._stream.roster.watchers)  # type: ignore[union-attr]
            m.clock.advance(9.9)
            done, _ = await asyncio.wait({waiting}, timeout=0.6)
            assert not done
            m.clock.advance(0.1)
            await asyncio.wait_for(waiting, 5)

    asyncio.run(scenario())


def test_one_that_is_silent_and_has_no_bound_is_named() -> None:
    async def scenario() -> None:
        async with members(bound=None) as m:
            await m.caches[0].barrier(await m.removed())
            m.logs[2].away = True
            position = await m.removed()
            m.clock.advance(100_000)
            with pytest.raises(BarrierTimeout, match=r"^i2: not known") as caught:
                await m.caches[0].barrier(position, timeout=0.3)
            assert caught.value.missing == ("i2",)
            m.logs[2].away = False
            await m.caches[0].barrier(position)

    asyncio.run(scenario())


def test_one_that_does_not_hear_itself_is_named() -> None:
    async def scenario() -> None:
        async with members() as m:
            m.logs[1].deaf = True
            with pytest.raises(BarrierTimeout, match="this instance, i1,") as caught:
                await m.caches[1].barrier(await m.removed(), timeout=0.3)
            assert caught.value.missing == ("i1",)

    asyncio.run(scenario())


def test_one_that_stopped_is_not_waited_for() -> None:
    async def scenario() -> None:
        async with members(bound=None) as m:
            await m.caches[0].barrier(await m.removed())
            await m.caches[2].stop()
            await m.caches[0].barrier(await m.removed())
            assert [member.instance for member in await m.caches[0].fleet()] == ["i0", "i1"]

    asyncio.run(scenario())


def test_what_has_no_position_and_what_has_no_bus() -> None:
    async def scenario() -> None:
        alone = AsyncHybridCache()
        await alone.barrier(await alone.remove("k"))
        assert await alone.fleet() == ()
        async with members() as m:
            with pytest.raises(LogUnavailable, match="queued"):
                await m.caches[0].barrier(Receipt(None, True))

    asyncio.run(scenario())


def test_the_fleet_tells_of_everybody() -> None:
    async def scenario() -> None:
        async with members(bound=7) as m:
            m.caches[1].scope("rare", options=CacheOptions(max_staleness_seconds=70))
            position = await m.removed()
            found = await m.caches[0].fleet()
            assert {(one.instance, one.bound) for one in found} == {("i0", 7), ("i1", 70), ("i2", 7)}
            assert found[0].instance == "i0"
            assert all(Position.parse(one.position) >= position for one in found)
            assert all(one.silent_seconds == one.lag == 0 for one in found)
            m.caches[2].scope("never", options=CacheOptions(on_stale="serve"))
            m.clock.advance(1)

            async def told() -> bool:
                return {one.instance: one.bound for one in await m.caches[0].fleet()}["i2"] is None

            await eventually(told)

    asyncio.run(scenario())


def test_one_answer_will_do_for_all_who_asked() -> None:
    async def scenario() -> None:
        async with members() as m:
            await m.caches[0].barrier(await m.removed())
            before = m.caches[1].stats().stream
            position = await m.removed()
            await asyncio.gather(*(m.caches[0].barrier(position) for _ in range(200)))
            after = m.caches[1].stats().stream
            assert before is not None
            assert after is not None
            assert 0 < after.events_appended - before.events_appended < 50

    asyncio.run(scenario())


def test_heartbeats_grow_rarer_with_the_fleet() -> None:
    assert [heartbeat_seconds(10, count) for count in (1, 100, 101, 1000)] == pytest.approx([10, 10, 10.1, 100])


def test_the_roster_is_bounded_and_forgets_who_can_serve_nothing_old() -> None:
    clock = ManualClock()
    roster = Roster(clock, 10)

    def hear(origin: str, *events: InstanceStarted | InstanceSeen | InstanceStopped | KeysRemoved) -> None:
        roster.hear(OpenedFrame(7, origin, 1, 0, events))

    def others() -> list[str]:
        return [origin for origin, _ in roster.others("own")]

    hear("own", InstanceStarted("own", bound=5))
    hear("a", InstanceStarted("a", bound=5))
    hear("b", InstanceSeen("b", (7, 1)))
    hear("publisher", KeysRemoved("s", ("k",)))
    assert others() == ["a", "b"]
    clock.advance(30)
    hear("a", KeysRemoved("s", ("k",)))
    clock.advance(35)
    assert others() == ["b", "a"]
    clock.advance(0.1)
    assert others() == ["b"]
    hear("b", InstanceStopped("b"))
    assert others() == []
    for number in range(5000):
        hear(f"many-{number}", InstanceStarted("many"))
    assert len(roster) == 4096
