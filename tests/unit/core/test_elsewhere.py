"""A key that is cold in every process: one loads it, the others wait for what it puts into L2."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, InvalidationBus, LoaderTimeout
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store, WatchedMemory


class Database:
    """One value, and how often it was read; a read may be held up, and may fail."""

    def __init__(self) -> None:
        self.value: Any = "new"
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def read(self) -> Any:
        self.reads += 1
        value, failure = self.value, self.failure
        await self.gate.wait()
        if failure is not None:
            raise failure
        return value


class Fleet:
    """Caches on one L2 and one log; `read` asks the one of that number."""

    def __init__(self, size: int = 2, l2: type[SharedMemory] = WatchedMemory, **arguments: Any) -> None:
        self.name = uuid.uuid4().hex
        self.store = Store()
        self.database = Database()
        self.l2s = [l2(self.store) for _ in range(size)]
        self.logs = [ScriptedLog(self.name) for _ in range(size)]
        self.caches = [
            AsyncHybridCache(distributed_cache=l2, invalidation_bus=InvalidationBus(lambda log=log: log), **arguments)
            for l2, log in zip(self.l2s, self.logs, strict=True)
        ]

    def read(self, number: int) -> asyncio.Task[Any]:
        return asyncio.create_task(self.caches[number].get_or_set("k", self.database.read))

    def waits(self) -> list[int]:
        return [cache.stats().distributed.waits for cache in self.caches]

    @asynccontextmanager
    async def one_loads_and_others_wait(self) -> AsyncIterator[Sequence[asyncio.Task[Any]]]:
        """The first is held up in its load, and the others wait for it."""
        async with AsyncExitStack() as stack:
            for cache in self.caches:
                await stack.enter_async_context(cache)
            self.database.gate.clear()
            tasks = [self.read(0)]
            await eventually(lambda: self.database.reads == 1)
            tasks += [self.read(number) for number in range(1, len(self.caches))]
            await eventually(lambda: all(self.waits()[1:]))
            yield tasks


def test_one_process_loads_and_the_others_wait_without_asking() -> None:
    async def scenario() -> None:
        fleet = Fleet(4)
        async with fleet.one_loads_and_others_wait() as tasks:
            more = [fleet.read(number % 4) for number in range(100)]
            await asyncio.sleep(0.1)
            assert [l2.calls for l2 in fleet.l2s[1:]] == [["open", "get", "watch", "get"]] * 3
            fleet.database.gate.set()
            assert set(await asyncio.gather(*tasks, *more)) == {"new"}
            assert fleet.database.reads == 1
            assert [l2.calls for l2 in fleet.l2s[1:]] == [["open", "get", "watch", "get", "get"]] * 3
            assert (fleet.waits(), fleet.store.watched) == ([0, 1, 1, 1], {("default", "k"): set()})

    asyncio.run(scenario())


def test_where_the_loader_of_the_holder_fails_another_loads() -> None:
    async def scenario() -> None:
        fleet = Fleet(3)
        fleet.database.failure = RuntimeError("the row is locked")
        async with fleet.one_loads_and_others_wait() as (failing, *others):
            fleet.database.failure = None
            fleet.database.gate.set()
            with pytest.raises(RuntimeError):
                await failing
            assert await asyncio.gather(*others) == ["new", "new"]
            assert fleet.database.reads == 2

    asyncio.run(scenario())


def test_a_holder_that_died_costs_its_lease_and_then_one_loads() -> None:
    async def scenario() -> None:
        fleet = Fleet(4, lease_seconds=0.3)
        async with AsyncExitStack() as stack:
            for cache in fleet.caches:
                await stack.enter_async_context(cache)
            dead = await SharedMemory(fleet.store).get("default", "k", oldest=ORIGIN, lease_seconds=0.3)
            began = monotonic()
            assert await asyncio.gather(*map(fleet.read, range(4))) == ["new"] * 4
            assert dead.token  # type: ignore[union-attr]
            assert monotonic() - began >= 0.3
            assert fleet.database.reads == 1

    asyncio.run(scenario())


def test_who_waited_for_two_dead_holders_loads_as_well() -> None:
    async def scenario() -> None:
        fleet = Fleet(1, lease_seconds=0.1)
        async with fleet.caches[0]:
            dead = SharedMemory(fleet.store)

            async def die() -> None:
                while True:
                    await dead.get("default", "k", oldest=ORIGIN, lease_seconds=0.1)
                    await asyncio.sleep(0.001)

            dying = asyncio.create_task(die())
            await eventually(lambda: fleet.store.leases)
            assert await fleet.read(0) == "new"
            assert fleet.store.drawn >= 2
            assert not fleet.store.entries
            dying.cancel()

    asyncio.run(scenario())


def test_a_removal_meanwhile_lets_another_load_what_is_new() -> None:
    async def scenario() -> None:
        fleet = Fleet(2)
        fleet.database.value = "old"
        async with fleet.one_loads_and_others_wait() as (first, waiting):
            fleet.database.value = "new"
            await fleet.caches[1].remove("k")
            later = fleet.read(1)
            await eventually(lambda: fleet.database.reads >= 2)
            fleet.database.gate.set()
            assert await asyncio.gather(first, waiting, later) == ["old", "new", "new"]
            assert await fleet.caches[1].get("k") == "new"
            await fleet.caches[0].get_or_set("k", fleet.database.read)
            assert await fleet.caches[0].get("k") == "new"

    asyncio.run(scenario())


def test_who_waits_and_is_overruled_here_asks_again_without_a_lease() -> None:
    async def scenario() -> None:
        fleet = Fleet(2)
        async with fleet.one_loads_and_others_wait() as (first, second):
            await fleet.caches[1].remove("k")
            # what it loads now will not be kept, so that nobody is to wait for it
            await eventually(lambda: fleet.database.reads == 2)
            assert fleet.store.leases == {}
            fleet.database.gate.set()
            assert await asyncio.gather(first, second) == ["new", "new"]

    asyncio.run(scenario())


def test_a_value_that_is_set_meanwhile_is_what_they_get() -> None:
    async def scenario() -> None:
        fleet = Fleet(2)
        async with fleet.one_loads_and_others_wait() as (_, waiting):
            await fleet.caches[0].set("k", "set")
            assert await waiting == "set"
            assert fleet.database.reads == 1
            fleet.database.gate.set()

    asyncio.run(scenario())


def test_nobody_waits_for_a_change_under_way() -> None:
    async def scenario() -> None:
        fleet = Fleet(1)
        async with fleet.caches[0]:
            await SharedMemory(fleet.store).lease("default", "k", lease_seconds=30)
            assert await fleet.read(0) == "new"
            assert fleet.waits() == [0]

    asyncio.run(scenario())


def test_who_waits_and_hears_of_a_change_under_way_loads() -> None:
    async def scenario() -> None:
        fleet = Fleet(3)
        async with (
            fleet.one_loads_and_others_wait() as (_, *others),
            # no longer than a lease to fill, from which those who have not heard cannot tell it
            fleet.caches[0].invalidating("k", within_seconds=9),
        ):
            fleet.database.gate.set()
            async with asyncio.timeout(5):
                assert await asyncio.gather(*others) == ["new", "new"]
            assert fleet.database.reads == 3
            assert not fleet.store.entries

    asyncio.run(scenario())


def test_who_hears_of_a_change_while_it_asks_does_not_wait_for_it() -> None:
    """The lease of that change woke it, and the event follows while it asks."""

    async def scenario() -> None:
        fleet = Fleet(1)
        (asking,), (l2,) = fleet.caches, fleet.l2s
        bus = InvalidationBus(lambda: ScriptedLog(fleet.name))
        async with asking, AsyncHybridCache(invalidation_bus=bus) as changing, AsyncExitStack() as begun:

            async def begin() -> None:
                await begun.enter_async_context(changing.invalidating("k", within_seconds=9))
                await eventually(lambda: asking._scopes.changes.cover("default", "k"))

            async def ask_again() -> None:
                l2.before["get"] = begin

            l2.before["watch"] = ask_again
            await SharedMemory(fleet.store).lease("default", "k", lease_seconds=9)
            async with asyncio.timeout(5):
                assert await fleet.read(0) == "new"
            assert fleet.waits() == [1]

    asyncio.run(scenario())


@pytest.mark.parametrize("failing", ["watch", "get"])
def test_who_cannot_wait_loads(failing: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        fleet = Fleet(1)
        l2 = fleet.l2s[0]
        async with fleet.caches[0] as cache:
            await SharedMemory(fleet.store).lease("default", "k", lease_seconds=10)
            if failing == "watch":
                l2.failing = {"watch"}
            else:
                task = fleet.read(0)
                await eventually(lambda: any(fleet.waits()))
                l2.failing = {"get"}
                await cache.get("another")
                async with asyncio.timeout(5):
                    assert await task == "new"
            assert await fleet.read(0) == "new"
            await cache.remove_local("k")
            assert await fleet.read(0) == "new"
            assert cache.stats().distributed.state == ("up" if failing == "watch" else "down")

    with caplog.at_level(logging.WARNING, "async_hybrid_cache"):
        asyncio.run(scenario())
    assert sum("cannot be watched" in record.message for record in caplog.records) == (failing == "watch")


def test_a_watch_that_fails_is_told_again_once_it_has_worked(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        fleet = Fleet(1)
        other = SharedMemory(fleet.store)
        async with fleet.caches[0] as cache:
            for failing in ({"watch"}, {"watch"}, set[str](), {"watch"}):
                fleet.l2s[0].failing = failing
                token = await other.lease("default", "k", lease_seconds=10)
                task = fleet.read(0)
                if not failing:
                    await eventually(lambda: any(fleet.waits()))
                    await other.release("default", "k", token=token)
                assert await task == "new"
                await cache.remove_local("k")
            stats = cache.stats().distributed
            assert (stats.waits, stats.waits_failed) == (1, 3)

    with caplog.at_level(logging.WARNING, "async_hybrid_cache"):
        asyncio.run(scenario())
    assert sum("cannot be watched" in record.message for record in caplog.records) == 2


def test_an_l2_that_cannot_be_watched_is_not_waited_for() -> None:
    async def scenario() -> None:
        fleet = Fleet(2, SharedMemory)
        async with fleet.caches[0], fleet.caches[1]:
            await SharedMemory(fleet.store).lease("default", "k", lease_seconds=10)
            assert await asyncio.gather(fleet.read(0), fleet.read(1)) == ["new", "new"]
            assert (fleet.database.reads, fleet.waits()) == (2, [0, 0])

    asyncio.run(scenario())


def test_a_lease_is_taken_for_as_long_as_the_load_may_run() -> None:
    async def scenario() -> None:
        fleet = Fleet(1, options=CacheOptions(hard_timeout_seconds=1), distributed_timeout_seconds=0.5)
        async with fleet.caches[0]:
            fleet.database.gate.clear()
            task = fleet.read(0)
            await eventually(lambda: fleet.store.leases)
            assert 2 < fleet.store.held(("default", "k")) <= 2.5
            fleet.database.gate.set()
            await task

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["kept by nobody", "cancelled", "stopped"])
def test_a_lease_that_is_of_no_more_use_is_given_back(how: str) -> None:
    """Others would wait for its end."""

    async def scenario() -> None:
        fleet = Fleet(1)
        (cache,), (l2,) = fleet.caches, fleet.l2s
        async with cache:
            if how == "kept by nobody":
                await cache.set("k", "new", options=CacheOptions(ttl_seconds=0))
            elif how == "cancelled":
                (log,) = fleet.logs
                attempts, log.frozen = len(log.attempts), True
                task = asyncio.create_task(cache.set("k", "new"))
                await eventually(lambda: len(log.attempts) > attempts)
                assert fleet.store.leases
                task.cancel()
                await asyncio.wait({task})
                assert task.cancelled()
                log.frozen = False
            else:
                fleet.database.gate.clear()
                task = fleet.read(0)
                await eventually(lambda: fleet.store.leases)
                await cache.stop()
                with pytest.raises(LoaderTimeout):
                    await task
            assert "release" in l2.calls
            assert not fleet.store.leases

    asyncio.run(scenario())


def test_a_read_that_would_not_load_does_not_wait() -> None:
    async def scenario() -> None:
        fleet = Fleet(1)
        async with fleet.caches[0] as cache, asyncio.timeout(5):
            await SharedMemory(fleet.store).lease("default", "k", lease_seconds=10)
            assert await cache.get("k") is None
            assert fleet.waits() == [0]

    asyncio.run(scenario())


def test_holders_that_follow_one_another_are_not_waited_for_without_end() -> None:
    async def scenario() -> None:
        fleet = Fleet(1, lease_seconds=0.3)
        other = SharedMemory(fleet.store)

        async def hold_on() -> None:
            while True:
                await other.lease("default", "k", lease_seconds=0.3)
                await asyncio.sleep(0.01)

        async with fleet.caches[0], asyncio.timeout(5):
            holding = asyncio.create_task(hold_on())
            await eventually(lambda: fleet.store.leases)
            assert await fleet.read(0) == "new"
            assert fleet.waits() == [1]
            holding.cancel()

    asyncio.run(scenario())


# -- the stale value meanwhile ---------------------------------------------------------------------------------


async def expired(fleet: Fleet) -> None:
    """The value `old` is in every L1, and its TTL is over."""
    fleet.database.value = "old"
    for number in range(len(fleet.caches)):
        await fleet.read(number)
    await eventually(lambda: fleet.store.entries)
    fleet.database.value = "new"
    fleet.database.reads = 0
    fleet.store.entries.clear()
    for cache in fleet.caches:
        entry = cache.scope_state("default").store.entries["k"]
        entry.stale_until -= entry.expires_at - cache.monotonic()
        entry.expires_at = entry.fresh_until = cache.monotonic()


def test_a_stale_value_is_served_meanwhile() -> None:
    async def scenario() -> None:
        fleet = Fleet(2)
        async with fleet.caches[0], fleet.caches[1]:
            await expired(fleet)
            fleet.database.gate.clear()
            loading = fleet.read(0)
            await eventually(lambda: fleet.database.reads == 1)
            assert await fleet.read(1) == "old"
            assert await fleet.read(1) == "old"
            assert fleet.caches[1].stats().stale_served == 2
            fleet.database.gate.set()
            assert await loading == "new"
            await eventually(lambda: not fleet.caches[1].scope_state("default").loads)
            assert await fleet.read(1) == "new"
            assert fleet.database.reads == 1

    asyncio.run(scenario())


def test_past_its_bound_it_is_served_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        fleet = Fleet(2, options=CacheOptions(on_stale="serve"))
        async with fleet.caches[0], fleet.caches[1] as reading:
            await expired(fleet)
            fleet.database.gate.clear()
            loading = fleet.read(0)
            await eventually(lambda: fleet.database.reads == 1)
            monkeypatch.setattr(reading._staleness, "within", lambda *known: False)
            assert await fleet.read(1) == "old"
            fleet.database.gate.set()
            assert await loading == "new"

    asyncio.run(scenario())


@pytest.mark.parametrize("reason", ["removed", "past its bound", "no fail-safe"])
def test_a_stale_value_that_must_not_be_served_is_not(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        fleet = Fleet(2, options=CacheOptions(fail_safe_seconds=0 if reason == "no fail-safe" else 300))
        async with fleet.caches[0], fleet.caches[1] as reading:
            await expired(fleet)
            fleet.database.gate.clear()
            loading = fleet.read(0)
            await eventually(lambda: fleet.database.reads == 1)
            if reason == "removed":
                scopes = reading._scopes
                monkeypatch.setattr(scopes.tombstones, "_everything", Position(2**60, 1))
            elif reason == "past its bound":
                monkeypatch.setattr(reading._staleness, "within", lambda *known: not known[1:])
            waiting = fleet.read(1)
            await eventually(lambda: any(fleet.waits()))
            assert not waiting.done()
            monkeypatch.undo()
            fleet.database.gate.set()
            assert await asyncio.gather(loading, waiting) == ["new", "new"]

    asyncio.run(scenario())


def test_a_read_at_a_position_gets_no_stale_value() -> None:
    async def scenario() -> None:
        fleet = Fleet(2)
        async with fleet.caches[0], fleet.caches[1] as reading:
            await expired(fleet)
            fleet.database.gate.clear()
            loading = fleet.read(0)
            await eventually(lambda: fleet.database.reads == 1)
            ahead = reading._stamp()._replace(offset=10**6)
            waiting = asyncio.create_task(reading.get_or_set("k", fleet.database.read, at_least=ahead))
            await eventually(lambda: any(fleet.waits()))
            assert await fleet.read(1) == "old"
            assert not waiting.done()
            fleet.database.gate.set()
            assert await asyncio.gather(loading, waiting) == ["new", "new"]

    asyncio.run(scenario())


def test_a_reader_that_gives_up_and_a_cache_that_stops_leave_nothing() -> None:
    async def scenario() -> None:
        fleet = Fleet(2)
        async with fleet.one_loads_and_others_wait() as (loading, waiting):
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=1)
            assert waiting.cancelled()
            await fleet.caches[1].stop()
            assert fleet.store.watched == {("default", "k"): set()}
            assert not fleet.caches[1]._l2.breaker.listeners  # type: ignore[union-attr]
            fleet.database.gate.set()
            assert await loading == "new"

    asyncio.run(scenario())
