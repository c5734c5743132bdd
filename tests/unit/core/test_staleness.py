"""Promise 3: how old what is kept may be, judged by the clock at the read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    InvalidationBus,
    LoaderTimeout,
    MemoryInvalidationBus,
    StaleError,
    StreamOptions,
)
from async_hybrid_cache.clock import NEVER
from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.stream.tail import Tail
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.clock import ManualClock
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory

BOUND = 10


class World:
    """A cache that can be made deaf, on a clock that only the test moves, and what it loads."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.log = ScriptedLog()
        self.l2 = options.pop("l2", None)
        options = {"ttl_seconds": 600, "fail_safe_seconds": 600, **options}
        self.cache = AsyncHybridCache(
            invalidation_bus=InvalidationBus(lambda: self.log),
            distributed_cache=self.l2,
            options=CacheOptions(**options),
            clock=self.clock,
        )
        self.version = 1
        self.failure: Exception | None = None

    async def load(self) -> int:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return self.version

    async def read(self, **options: Any) -> int:
        found: int = await self.cache.get_or_set("k", self.load, options=CacheOptions(**options) if options else None)
        return found

    async def caught_up(self) -> None:
        """Wait for a proof asked now."""
        self.clock.advance(1)
        now = self.clock.now
        stream = self.cache._stream
        assert stream is not None
        await eventually(lambda: stream.caught_up_at >= now)

    async def deafen(self) -> None:
        """Wait until nothing is heard any more, and no proof is under way."""
        self.log.away = True
        self.clock.advance(1)
        await eventually(lambda: "reader" in self.cache._stream.link.troubles)  # type: ignore[union-attr]


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    made = World(**options)
    async with made.cache:
        yield made


def test_a_deaf_instance_is_a_cache_whose_ttl_is_the_bound() -> None:
    async def scenario() -> None:
        async with world() as w:
            await w.caught_up()
            await w.deafen()
            assert await w.read() == 1
            w.version = 2
            w.clock.advance(BOUND - 0.1)
            assert await w.read() == 1
            w.clock.advance(0.1)
            assert await w.read() == 2
            w.version = 3
            w.clock.advance(BOUND - 0.1)
            assert await w.read() == 2
            stats = w.cache.stats()
            assert stats.past_bound == 1
            assert stats.stream is not None
            assert stats.stream.unheard_seconds is not None
            assert stats.stream.unheard_seconds > BOUND
            assert any("max_staleness_seconds=10" in reason for reason in w.cache.health().reasons)

    asyncio.run(scenario())


def test_proofs_keep_a_value_until_its_ttl() -> None:
    async def scenario() -> None:
        async with world(ttl_seconds=40) as w:
            assert await w.read() == 1
            w.version = 2
            for _ in range(3):
                w.clock.advance(BOUND)
                await w.caught_up()
                assert await w.read() == 1
            w.clock.advance(7)
            assert await w.read() == 2

    asyncio.run(scenario())


def test_what_was_proved_is_what_was_applied() -> None:
    """The server answers that there is more, and does not give it: nothing is proved by that."""

    async def scenario() -> None:
        async with world() as w:
            await w.caught_up()
            assert await w.read() == 1
            w.version = 2
            w.log.deaf = True
            w.clock.advance(1)
            proved = w.cache._stream.caught_up_at  # type: ignore[union-attr]
            other = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: _twin(w.log)))
            async with other:
                assert not (await other.remove("k")).queued
                w.clock.advance(BOUND - 1.1)
                # its own heartbeat is not due, so that only proofs and reads go on
                await eventually(lambda: w.cache.stats().stream.lag > 0)  # type: ignore[union-attr]
                w.clock.advance(1.2)
                assert w.cache._stream.caught_up_at <= proved + 1  # type: ignore[union-attr]
                assert await w.read() == 2

    asyncio.run(scenario())


def _twin(log: ScriptedLog) -> ScriptedLog:
    twin = ScriptedLog()
    twin._records = log._records
    return twin


def test_a_process_that_was_frozen_judges_its_first_read() -> None:
    async def scenario() -> None:
        async with world() as w:
            assert await w.read() == 1
            await w.caught_up()
            w.version = 2
            w.clock.advance(BOUND)  # no task has run since
            assert await w.read() == 2

    asyncio.run(scenario())


def test_a_load_counts_from_where_it_began() -> None:
    async def scenario() -> None:
        async with world(hard_timeout_seconds=None) as w:
            await w.caught_up()
            await w.deafen()

            async def slow() -> int:
                w.clock.advance(BOUND)
                return w.version

            assert await w.cache.get_or_set("k", slow) == 1
            w.version = 2
            assert await w.read() == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["set", "refresh", "cached"])
def test_every_way_into_l1_counts(how: str) -> None:
    async def scenario() -> None:
        async with world() as w:
            await w.caught_up()
            await w.deafen()

            @w.cache.cached("k", scope="default")
            async def load() -> int:
                return w.version

            read: Callable[[], Awaitable[int]] = load if how == "cached" else w.read
            if how == "set":
                await w.cache.set("k", 1)
            else:
                await (load.refresh_cached() if how == "refresh" else load())
            w.version = 2
            w.clock.advance(BOUND - 0.1)
            assert await read() == 1
            w.clock.advance(0.2)
            assert await read() == 2

    asyncio.run(scenario())


def test_fail_safe_may_stand_in_where_loading_anew_fails() -> None:
    async def scenario() -> None:
        async with world(fail_safe_throttle_seconds=5) as w:
            await w.caught_up()
            await w.deafen()
            await w.read()
            w.clock.advance(BOUND)
            w.failure = OSError("the database is away as well")
            assert await w.read() == 1
            w.failure, w.version = None, 2
            w.clock.advance(4.9)
            assert await w.read() == 1
            w.clock.advance(0.1)
            assert await w.read() == 2

    asyncio.run(scenario())


def test_raise_lets_not_even_fail_safe_stand_in() -> None:
    async def scenario() -> None:
        async with world(on_stale="raise", hard_timeout_seconds=0.01) as w:
            await w.caught_up()
            await w.deafen()
            await w.read()
            assert await w.cache.get("k") == 1
            w.clock.advance(BOUND)
            w.failure = OSError("the database is away as well")
            with pytest.raises(StaleError, match=r"'k'.* 10 s") as caught:
                await w.read()
            assert caught.value.__cause__ is w.failure
            with pytest.raises(StaleError, match="nothing newer"):
                await w.cache.get("k")
            w.failure, w.version = None, 2
            assert await w.read() == 2
            assert await w.cache.get("other", "nothing") == "nothing"
            w.clock.advance(BOUND)
            with pytest.raises(StaleError) as late:
                await w.cache.get_or_set("k", lambda: asyncio.sleep(3600, 0))
            assert isinstance(late.value.__cause__, LoaderTimeout)

    asyncio.run(scenario())


def test_one_reader_who_refuses_is_not_served_what_stood_in_for_another() -> None:
    async def scenario() -> None:
        async with world(fail_safe_throttle_seconds=60) as w:
            await w.caught_up()
            await w.deafen()

            @w.cache.cached("k", scope="default", options=CacheOptions(on_stale="raise"))
            async def strict() -> int:
                return await w.load()

            assert await strict() == 1
            w.clock.advance(BOUND)
            w.failure = OSError("the database is away as well")
            assert await w.read() == 1
            with pytest.raises(StaleError):
                await strict()

    asyncio.run(scenario())


def test_serve_serves_and_counts() -> None:
    async def scenario() -> None:
        async with world(on_stale="serve") as w:
            await w.caught_up()
            await w.deafen()
            await w.read()
            w.version = 2
            w.clock.advance(599)
            assert await w.read() == 1
            w.clock.advance(2)
            assert await w.read() == 2

    asyncio.run(scenario())


def test_the_tightest_reader_of_a_scope_is_served_within_its_own_bound() -> None:
    async def scenario() -> None:
        async with world(max_staleness_seconds=None) as w:
            await w.caught_up()
            await w.deafen()

            @w.cache.cached("k", scope="default", options=CacheOptions(max_staleness_seconds=1))
            async def tight() -> int:
                return await w.load()

            assert await w.read() == 1
            w.version = 2
            w.clock.advance(1)
            assert await w.read() == 1
            assert await w.read(max_staleness_seconds=2) == 1
            assert await tight() == 2
            w.version = 3
            w.clock.advance(0.5)
            assert await tight() == 2
            assert await w.read(max_staleness_seconds=0.4) == 3

    asyncio.run(scenario())


def test_a_tighter_bound_is_proved_more_often() -> None:
    cache = AsyncHybridCache(invalidation_bus=MemoryInvalidationBus("tight"))
    assert cache._stream is not None
    assert cache._stream.proof_seconds == 0.75
    cache.scope("prices", options=CacheOptions(max_staleness_seconds=0.3))
    assert cache._stream.proof_seconds == pytest.approx(0.1)
    cache.scope("tickers", options=CacheOptions(max_staleness_seconds=0.001))
    assert cache._stream.proof_seconds == 0.01


def test_without_a_bus_there_is_nothing_to_hear() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        cache = AsyncHybridCache(
            clock=clock, options=CacheOptions(ttl_seconds=600, max_staleness_seconds=1, on_stale="raise")
        )
        assert await cache.get_or_set("k", lambda: asyncio.sleep(0, 1)) == 1
        clock.advance(599)
        assert await cache.get("k") == 1

    asyncio.run(scenario())


def test_before_the_log_is_found_the_bound_holds_as_well() -> None:
    async def scenario() -> None:
        w = World()
        w.log.away = True
        async with w.cache:
            assert await w.read() == 1
            w.version = 2
            w.clock.advance(BOUND)
            assert await w.read() == 2
            assert w.cache.stats().stream.unheard_seconds is None  # type: ignore[union-attr]

    asyncio.run(scenario())


def test_l2_is_believed_only_by_one_who_hears() -> None:
    """A removal whose delete in L2 failed leaves the old value there, and only the event tells."""

    async def scenario() -> None:
        async with world(l2=SharedMemory()) as w:
            await w.caught_up()
            assert await w.read() == 1
            await w.cache.clear_memory()
            w.version = 2
            assert await w.read() == 1  # from L2
            await w.deafen()
            w.clock.advance(BOUND - 1.1)
            assert await w.read() == 1
            w.clock.advance(1.1)
            assert await w.read() == 2
            assert await w.cache.get("k") == 2
            await w.cache.clear_memory()
            assert await w.cache.get("k") is None
            w.log.away = False
            await w.caught_up()
            await eventually(lambda: w.cache.get("k"))

    asyncio.run(scenario())


def test_proofs_count_when_their_head_is_reached() -> None:
    tail = Tail(ScriptedLog(), StreamOptions(), ManualClock())
    tail.stand(Position(7, 10), "")
    assert tail.caught_up_at == NEVER
    for asked_at, head in ((1.0, 12), (2.0, 13), (3.0, 14)):
        tail.aim(asked_at, Position(7, head))
    seen = []
    for offset in range(11, 15):
        tail.take(Record(Position(7, offset), "", b""))
        seen.append(tail.caught_up_at)
    assert seen == [NEVER, 1.0, 1.0, 3.0]
    tail.aim(4.0, Position(7, 20))
    tail.stand(Position(8, 30), "")
    tail.take(Record(Position(8, 31), "", b""))
    assert tail.caught_up_at == 3.0
