"""Changes announced before they are made: nothing is kept meanwhile, and a writer that dies leaves nobody stale."""

from __future__ import annotations

import asyncio
import math
import uuid
from typing import Any

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    ConfigurationError,
    InvalidationBus,
    Receipt,
    StreamOptions,
)
from async_hybrid_cache.stream import stream
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import ChangeEnded, KeysChanging, KeysRemoved
from tests.unit.core.clock import ManualClock
from tests.unit.core.recorder import Instance
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store


class Database:
    """One value, and how often it was read; a read may be held up in the middle."""

    def __init__(self) -> None:
        self.value = "old"
        self.reads = 0
        self.gate: asyncio.Event | None = None

    async def read(self) -> str:
        self.reads += 1
        value = self.value
        if self.gate is not None:
            await self.gate.wait()
        return value


class Fleet:
    """Caches on one log and one L2, with one database."""

    def __init__(self, size: int = 2, **options: Any) -> None:
        self.name = uuid.uuid4().hex
        self.clock = ManualClock()
        self.server = Store(self.clock)
        self.database = Database()
        self.logs = [ScriptedLog(self.name) for _ in range(size)]
        self.l2s = [SharedMemory(self.server) for _ in range(size)]
        self.caches = [
            AsyncHybridCache(
                distributed_cache=l2,
                invalidation_bus=InvalidationBus(lambda log=log: log, StreamOptions(append_timeout_seconds=0.2)),  # type: ignore[misc]
                options=CacheOptions(ttl_seconds=10_000, **options),
                clock=self.clock,
            )
            for log, l2 in zip(self.logs, self.l2s, strict=True)
        ]

    async def __aenter__(self) -> Fleet:
        for cache in self.caches:
            await cache.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for cache in self.caches:
            await cache.stop()

    async def get(self, number: int) -> str:
        return await self.caches[number].get_or_set("a", self.database.read, scope="users")

    async def hears(self) -> None:
        """Wait until every cache has applied the whole log."""
        await eventually(
            lambda: all(
                cache._stream is not None
                and cache._stream.reader.applied.offset == self.logs[0].records()[-1].position.offset
                for cache in self.caches
            )
        )

    async def keeps(self, number: int, value: str) -> None:
        """It returns `value`, and from then on without asking the database."""
        assert await self.get(number) == value
        before = self.database.reads
        assert await self.get(number) == value
        assert self.database.reads == before


def test_while_the_block_runs_nobody_keeps_anything_and_then_all_have_the_new_value() -> None:
    async def scenario() -> None:
        async with Fleet() as fleet:
            for number in (0, 1):
                await fleet.keeps(number, "old")
            async with fleet.caches[0].invalidating("a", "b", scope="users") as receipt:
                assert isinstance(receipt, Receipt)
                assert receipt.position is not None
                await fleet.hears()
                for number in (0, 1, 1, 0):
                    before = fleet.database.reads
                    assert await fleet.get(number) == "old"
                    assert fleet.database.reads == before + 1
                    assert await fleet.caches[number].get("a", scope="users") is None
                assert not fleet.server.entries
                fleet.database.value = "new"
                assert await fleet.get(1) == "new"
            await fleet.hears()
            for number in (0, 1):
                await fleet.keeps(number, "new")
            assert not any(len(cache._scopes.changes) for cache in fleet.caches)
            assert [cache.stats().resets for cache in fleet.caches] == [0, 0]

    asyncio.run(scenario())


def test_what_it_says_and_in_which_order() -> None:
    async def scenario() -> None:
        fleet = Fleet(1)
        async with Instance(ScriptedLog(fleet.name)) as instance, fleet:
            async with fleet.caches[0].scope("users").invalidating("a", within_seconds=7):
                await eventually(lambda: len(instance.changes()) == 1)
            await eventually(lambda: len(instance.changes()) == 3)
            announced, removed, ended = instance.changes()
            assert isinstance(announced, KeysChanging)
            assert announced == KeysChanging(announced.change, "users", ("a",), 7.0)
            assert (removed, ended) == (KeysRemoved("users", ("a",)), ChangeEnded(announced.change))

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()], ids=["raises", "is cancelled"])
def test_a_block_that_fails_is_confirmed_all_the_same(error: BaseException) -> None:
    async def block(fleet: Fleet) -> None:
        async with fleet.caches[0].invalidating("a", scope="users"):
            fleet.database.value = "new"
            raise error

    async def scenario() -> None:
        async with Fleet() as fleet:
            await fleet.keeps(1, "old")
            with pytest.raises(type(error)):
                await block(fleet)
            await fleet.hears()
            await fleet.keeps(1, "new")

    asyncio.run(scenario())


async def dies(fleet: Fleet, event: KeysChanging) -> None:
    """What is left of a writer that was killed between its announcement and its commit."""
    async with Instance(ScriptedLog(fleet.name)) as writer:
        await writer.publish(event)
    await fleet.hears()


CHANGING = KeysChanging("c1", "users", ("a",), 30.0)


def test_a_writer_that_dies_leaves_nobody_stale() -> None:
    async def scenario() -> None:
        async with Fleet() as fleet:
            for number in (0, 1):
                await fleet.keeps(number, "old")
            await dies(fleet, CHANGING)
            assert await fleet.get(1) == "old"
            fleet.clock.advance(29.9)
            fleet.database.value = "new"
            for number in (0, 1):
                assert await fleet.get(number) == "new"
            fleet.clock.advance(0.2)
            for number in (0, 1):
                await fleet.keeps(number, "new")

    asyncio.run(scenario())


def test_a_load_that_began_meanwhile_fills_nothing_when_the_time_is_over() -> None:
    async def scenario() -> None:
        async with Fleet(hard_timeout_seconds=None) as fleet:
            await dies(fleet, CHANGING)
            fleet.database.gate = asyncio.Event()
            slow = asyncio.create_task(fleet.get(0))
            await eventually(lambda: fleet.database.reads == 1)
            joined = asyncio.create_task(fleet.get(0))
            await asyncio.sleep(0)
            fleet.database.value = "new"
            fleet.clock.advance(31)
            # it may be old, so nobody joins it now
            fresh = asyncio.create_task(fleet.get(0))
            await eventually(lambda: fleet.database.reads == 2)
            fleet.database.gate.set()
            assert (await slow, await joined, await fresh) == ("old", "old", "new")
            await fleet.keeps(0, "new")
            await fleet.keeps(1, "new")

    asyncio.run(scenario())


def test_a_load_stamped_past_an_announcement_that_was_not_applied_yet_is_not_kept() -> None:
    async def scenario() -> None:
        async with Fleet(1, hard_timeout_seconds=None) as fleet:
            cache, log = fleet.caches[0], fleet.logs[0]
            log.deaf = True
            async with Instance(ScriptedLog(fleet.name)) as writer:
                announced = await writer.publish(CHANGING)
            receipt = await cache.remove("other")
            assert receipt.position is not None
            assert receipt.position > announced
            fleet.database.gate = asyncio.Event()
            slow = asyncio.create_task(fleet.get(0))
            await eventually(lambda: fleet.database.reads == 1)
            log.deaf = False
            await fleet.hears()
            fleet.database.value = "new"
            fleet.database.gate.set()
            assert await slow == "old"
            fleet.clock.advance(31)
            assert await fleet.get(0) == "new"

    asyncio.run(scenario())


@pytest.mark.parametrize("brings", ["a load", "a set"])
def test_who_is_stamped_past_an_announcement_that_it_has_not_heard_fills_nothing_into_l2(brings: str) -> None:
    async def scenario() -> None:
        async with Fleet() as fleet:
            deaf = fleet.caches[1]
            fleet.logs[1].deaf = True
            async with Instance(ScriptedLog(fleet.name)) as writer:
                announced = await writer.publish(CHANGING)
            # its own acknowledgement moves its stamp past what it has not heard
            if brings == "a load":
                receipt = await deaf.clear(scope="users")
                assert await fleet.get(1) == "old"
            else:
                receipt = await deaf.set("a", "old", scope="users")
            assert receipt.position is not None
            assert receipt.position > announced
            await eventually(lambda: not deaf._loader._tasks and not fleet.server.leases)
            assert not fleet.server.entries
            fleet.logs[1].deaf = False
            await fleet.hears()
            fleet.database.value = "new"
            fleet.clock.advance(31)
            for number in (0, 1):
                await fleet.keeps(number, "new")

    asyncio.run(scenario())


def test_what_is_loaded_after_an_own_change_fills_l2_once_its_echo_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_ECHO_SECONDS", 5.0)

    async def scenario() -> None:
        async with Fleet() as fleet:
            fleet.logs[1].deaf = True
            await fleet.caches[1].clear(scope="users")
            loading = asyncio.create_task(fleet.get(1))
            await eventually(lambda: fleet.server.leases)
            assert not fleet.server.entries
            fleet.logs[1].deaf = False
            assert await loading == "old"
            await eventually(lambda: fleet.server.entries)

    asyncio.run(scenario())


def test_an_instance_that_has_not_heard_cannot_fill_l2_meanwhile() -> None:
    async def scenario() -> None:
        async with Fleet() as fleet:
            fleet.logs[1].deaf = True
            async with fleet.caches[0].invalidating("a", scope="users", within_seconds=30):
                fleet.clock.advance(29)
                assert await fleet.get(1) == "old"
                await eventually(lambda: not fleet.caches[1]._loader._tasks)
                assert not fleet.server.entries

    asyncio.run(scenario())


def test_two_changes_of_one_key_both_have_to_end() -> None:
    async def scenario() -> None:
        async with Fleet() as fleet:
            async with fleet.caches[0].invalidating("a", scope="users"):
                async with fleet.caches[1].invalidating("a", scope="users"):
                    pass
                await fleet.caches[1].remove("a", scope="users")
                await fleet.hears()
                for number in (0, 1):
                    assert await fleet.get(number) == "old"
                fleet.database.value = "new"
                for number in (0, 1):
                    assert await fleet.get(number) == "new"
            await fleet.hears()
            await fleet.keeps(1, "new")

    asyncio.run(scenario())


def test_a_set_meanwhile_is_told_and_not_kept() -> None:
    async def scenario() -> None:
        async with Fleet() as fleet, fleet.caches[0].invalidating("a", scope="users"):
            await fleet.hears()
            for cache in fleet.caches:
                await cache.set("a", "guess", scope="users")
            for number in (0, 1):
                assert await fleet.get(number) == "old"
            assert not fleet.server.entries

    asyncio.run(scenario())


def test_a_log_that_is_away_is_told_by_the_receipt() -> None:
    async def scenario() -> None:
        async with Fleet() as fleet:
            await fleet.keeps(1, "old")
            fleet.logs[0].away = True
            async with fleet.caches[0].invalidating("a", scope="users") as receipt:
                assert receipt == Receipt(None, True)
                fleet.database.value = "new"
            fleet.logs[0].away = False
            await fleet.keeps(0, "new")

            async def new() -> bool:
                return await fleet.get(1) == "new"

            await eventually(new)
            await fleet.hears()
            await fleet.keeps(0, "new")

    asyncio.run(scenario())


def test_without_a_log_it_is_for_this_process() -> None:
    async def scenario() -> None:
        database = Database()
        async with AsyncHybridCache() as cache:
            assert await cache.get_or_set("a", database.read) == "old"
            async with cache.invalidating("a") as receipt:
                assert receipt == Receipt(None, False)
                assert await cache.get_or_set("a", database.read) == "old"
                database.value = "new"
            assert await cache.get_or_set("a", database.read) == "new"
            assert await cache.get_or_set("a", database.read) == "new"
            assert database.reads == 3

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [0, -1, 601, math.inf, math.nan, "30"])
def test_a_time_that_cannot_be_used_is_refused(seconds: Any) -> None:
    async def scenario() -> None:
        async with AsyncHybridCache() as cache, cache.invalidating("a", within_seconds=seconds):
            raise AssertionError

    with pytest.raises(ConfigurationError, match="within_seconds"):
        asyncio.run(scenario())
