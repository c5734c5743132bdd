"""L2 and log changed in one step: what goes with which frame, and what is made up for where it did not."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheCleared,
    EventLog,
    InvalidationBus,
    KeysRemoved,
    LogRefused,
    LogUnavailable,
    ScopeCleared,
    StreamOptions,
)
from async_hybrid_cache.joint import JointAppend, L2Change, Leased
from async_hybrid_cache.positions import Position
from async_hybrid_cache.stream.outbox import Outbox
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import KeysChanging
from async_hybrid_cache_codecs.frames import seal
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store

REMOVED = KeysRemoved("default", ("k",))


class JoinedMemory(SharedMemory):
    """On the server of its log. `refusing`: the two cannot be changed in one step any more."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self.refusing = False
        self.together: list[list[L2Change]] = []
        self.arrived: Callable[[], object] = lambda: None

    def joined(self, log: EventLog) -> JointAppend | None:
        async def append(record: bytes, id: str, changes: Sequence[L2Change]) -> Position:
            self.together.append(list(changes))
            self.arrived()
            if self.refusing:
                raise LogRefused("not in one step")
            if isinstance(log, ScriptedLog) and not log.away and not log.frozen:
                await self.make(changes)
            return await log.append(record, id)

        return append

    async def make(self, changes: Sequence[L2Change]) -> None:
        for change in changes:
            match change:
                case KeysRemoved():
                    self.forget(change.scope, change.keys)
                case Leased():
                    self.forget(change.scope, change.keys)
                    for key in change.keys:
                        until = self.store.clock.monotonic() + change.seconds
                        self.store.leases[change.scope, key] = change.token, until
                case _:
                    self.store.entries.clear()
                    self.store.leases.clear()

    def forget(self, scope: str, keys: Sequence[str]) -> None:
        for key in keys:
            self.store.entries.pop((scope, key), None)
            self.store.leases.pop((scope, key), None)


class World:
    """One process, its L2 and its log, which is on the same server."""

    def __init__(self, **options: Any) -> None:
        self.log = ScriptedLog(uuid.uuid4().hex)
        self.l2 = JoinedMemory()
        timing = {"retry_max_seconds": 0.05, "call_timeout_seconds": 0.2, "append_timeout_seconds": 0.3}
        bus = InvalidationBus(lambda: self.log, StreamOptions(**{**timing, **options}))
        self.cache = AsyncHybridCache(
            distributed_cache=self.l2, invalidation_bus=bus, distributed_timeout_seconds=0.1, lease_seconds=60.0
        )

    async def warm(self) -> None:
        await self.cache.get_or_set("k", lambda: load("old"))
        await eventually(lambda: self.kept)
        self.l2.calls.clear()
        self.l2.together.clear()

    @property
    def kept(self) -> bool:
        return ("default", "k") in self.l2.store.entries

    async def made_up(self) -> None:
        stream = self.cache._stream
        assert stream is not None
        await eventually(lambda: not len(stream.outbox))
        await eventually(lambda: self.cache.stats().distributed.late_deletes == 0)
        assert not self.kept


async def load(value: str) -> str:
    return value


def test_a_change_goes_with_its_event() -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()
            assert (await cache.remove("k")).position
            assert world.l2.together == [[REMOVED]]
            await cache.clear(scope="default")
            await cache.clear()
            assert world.l2.together[1:] == [[ScopeCleared("default")], [CacheCleared()]]
            assert world.l2.calls == []

    asyncio.run(main())


def test_a_set_fills_under_the_lease_that_it_took_with_its_event() -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()
            await cache.set("k", "new")
            assert world.l2.calls == ["fill"]
            [[lease]] = world.l2.together
            assert isinstance(lease, Leased)
            assert cache.stats().distributed.fills == 2
            assert not world.l2.store.leases

    asyncio.run(main())


def test_a_set_whose_lease_was_voided_fills_nothing() -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()

            async def removed_meanwhile() -> None:
                await cache.remove("k")

            world.l2.before["fill"] = removed_meanwhile
            await cache.set("k", "new")
            assert not world.kept

    asyncio.run(main())


def test_a_key_stays_leased_while_its_data_changes() -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()
            async with cache.invalidating("k", within_seconds=20):
                assert world.l2.store.held(("default", "k")) > 10
                assert not world.kept
            assert not world.l2.store.leases
            assert "delete" not in world.l2.calls
            assert "lease" not in world.l2.calls

    asyncio.run(main())


@pytest.mark.parametrize("how", ["in time", "cancelled", "raise"])
@pytest.mark.parametrize("change", ["remove", "set"])
def test_what_was_not_acknowledged_is_deleted_later(how: str, change: str) -> None:
    async def main() -> None:
        world = World(on_log_failure="raise" if how == "raise" else "queue")
        async with world.cache as cache:
            await world.warm()
            world.log.frozen = True
            call = asyncio.create_task(cache.remove("k") if change == "remove" else cache.set("k", "new"))
            if how == "cancelled":
                await eventually(lambda: world.l2.together)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            elif how == "raise":
                with pytest.raises(LogUnavailable):
                    await call
            else:
                assert (await call).queued
            assert await cache.get_or_set("k", lambda: load("new")) == "new"
            assert world.l2.calls == []
            world.log.frozen = False
            await world.made_up()
            assert "delete" in world.l2.calls
            assert not world.l2.store.leases

    asyncio.run(main())


def test_a_change_that_begins_while_the_log_is_away_takes_two_steps() -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()
            world.log.away = True
            await cache.remove("other")
            await world.warm()
            await cache.remove("k")
            assert world.l2.calls[0] == "delete"
            assert not world.kept

    asyncio.run(main())


def test_a_repeat_takes_no_lease_that_nobody_would_fill() -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()
            world.log.away = True
            assert (await cache.set("k", "new")).queued
            world.l2.together.clear()
            world.log.away = False
            await world.made_up()
            assert world.l2.together[0] == [REMOVED]
            assert not world.l2.store.leases

    asyncio.run(main())


def test_an_event_that_waits_when_the_log_is_lost_takes_no_lease() -> None:
    box = Outbox(1000, 1, 10_000)
    for key in ("1", "2"):
        box.add(KeysRemoved("s", (key,)), change=Leased("s", (key,), "token", 1.0))
    box.frame(1, "o", 1, 0)
    assert box.changes() == [Leased("s", ("1",), "token", 1.0)]
    box.away()
    assert box.changes() == [KeysRemoved("s", ("1",))]
    box.acknowledged(Position(1, 1))
    box.frame(1, "o", 2, 0)
    assert box.changes() == [KeysRemoved("s", ("2",))]


def test_a_frame_of_another_process_takes_no_lease_of_ours() -> None:
    box = Outbox(1000, 1, 10_000)
    for key in ("1", "2"):
        box.add(KeysRemoved("s", (key,)), change=Leased("s", (key,), "token", 1.0))
    box.frame(1, "o", 1, 0)
    box.acknowledged(Position(1, 1), changed=True)
    box.recover([seal(1, "another", 1, 0, [KeysRemoved("s", ("theirs",))])])
    box.frame(1, "o", 2, 0)
    assert box.changes() == [KeysRemoved("s", ("theirs",))]


def test_an_event_that_was_coarsened_takes_what_it_became() -> None:
    box = Outbox(1000, 512, 1000)
    keys = tuple(str(number) for number in range(1000))
    pending = box.add(KeysChanging("id", "s", keys, 1.0), change=Leased("s", keys, "token", 1.0))
    box.frame(1, "o", 1, 0)
    assert box.changes() == [CacheCleared()]
    box.acknowledged(Position(1, 1), changed=True)
    assert not pending.owed


def test_a_refusal_is_told_once_and_everything_is_done_in_two_steps(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()
            world.l2.refusing = True
            with caplog.at_level(logging.WARNING, "async_hybrid_cache"):
                receipts = await asyncio.gather(cache.remove("k"), cache.remove("other"))
            assert all(receipt.queued for receipt in receipts)
            await world.made_up()
            world.l2.together.clear()
            await world.warm()
            assert (await cache.remove("k")).position
            assert world.l2.calls == ["delete"]
            assert world.l2.together == []
            assert sum("one after the other" in record.message for record in caplog.records) == 1

    asyncio.run(main())


def test_a_lost_acknowledgement_is_settled_by_a_repeat() -> None:
    async def main() -> None:
        world = World()
        async with world.cache as cache:
            await world.warm()
            world.log.lose_acknowledgements = 1
            assert (await cache.remove("k")).queued
            assert not world.kept
            await world.made_up()
            ids = [record.id for record in world.log.records()]
            assert len(ids) == len(set(ids))

    asyncio.run(main())


def test_what_another_process_left_is_deleted_with_its_frame(tmp_path: Path) -> None:
    async def main() -> None:
        first = World(outbox=tmp_path, instance_id="web")
        async with first.cache as cache:
            await first.warm()
            first.log.away = True
            assert (await cache.remove("k")).queued
            # nothing was deleted, and nothing is until the log is there again
            first.l2.failing = {"delete"}
        assert first.kept

        second = World(outbox=tmp_path, instance_id="web")
        second.log = first.log
        second.l2 = JoinedMemory(first.l2.store)
        second.l2.failing = {"delete"}
        first.log.away = False
        bus = InvalidationBus(
            lambda: first.log, StreamOptions(outbox=tmp_path, instance_id="web", retry_max_seconds=0.05)
        )
        cache = AsyncHybridCache(distributed_cache=second.l2, invalidation_bus=bus)
        async with cache:
            await eventually(lambda: not second.kept)
            second.l2.failing = set()

    asyncio.run(main())
