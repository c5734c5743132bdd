"""A cache with its outbox on disk: what was removed is told by the next start, once and in order."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    EncodeError,
    InvalidationBus,
    LogUnavailable,
    OutboxError,
    StreamOptions,
)
from async_hybrid_cache.journal import slot
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import (
    Event,
    InstanceSeen,
    InstanceStarted,
    InstanceStopped,
    KeysRemoved,
    PositionsAsked,
)
from async_hybrid_cache_codecs.frames import open_frame
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store


class Log(ScriptedLog):
    """A handle on the log of this test, which every process knows by the same name."""

    def __repr__(self) -> str:
        return "Log()"


class World:
    """One log, one L2, and the folder of whichever process lives."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.folder = folder / "outbox"
        self.store = Store()
        self.log = Log(self.name)

    def cache(self, *, l2: SharedMemory | None = None, folder: Path | None = None, **options: Any) -> AsyncHybridCache:
        """A process; `world.log` is its handle from now on."""
        self.log = log = Log(self.name)
        timing = {"retry_max_seconds": 0.05, "call_timeout_seconds": 0.2, "append_timeout_seconds": 0.3}
        stream = StreamOptions(**{**timing, "instance_id": "web", "outbox": folder or self.folder, **options})
        return AsyncHybridCache(
            distributed_cache=l2,
            invalidation_bus=InvalidationBus(lambda: log, stream),
            distributed_timeout_seconds=0.1,
        )

    def killed(self) -> Path:
        """What the disk holds at this moment, for a process that comes after."""
        copy = self.folder.with_name(f"killed-{len(list(self.folder.parent.iterdir()))}")
        shutil.copytree(self.folder, copy)
        for lock in copy.glob("*.lock"):
            lock.unlink()
        return copy

    def said(self) -> list[Event]:
        """Everything in the log but what instances say of themselves."""
        return [
            event
            for record in self.log.records()
            for event in open_frame(record.data).events
            if not isinstance(event, InstanceStarted | InstanceSeen | InstanceStopped)
        ]  # type: ignore[misc]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def removed(*keys: str) -> KeysRemoved:
    return KeysRemoved("default", keys)


async def sent(cache: AsyncHybridCache) -> None:
    """Wait until nothing waits."""
    await eventually(lambda: cache.stats().stream.outbox == 0 and cache.stats().stream.attached)  # type: ignore[union-attr]


def test_what_was_queued_is_told_by_the_next_start_in_order_and_once(world: World) -> None:
    async def scenario() -> None:
        async with world.cache():
            pass
        cache = world.cache()
        world.log.away = True
        await cache.start()
        for key in "abc":
            assert (await cache.remove(key)).queued
        copy = world.killed()
        async with world.cache(folder=copy) as after:
            await sent(after)
            assert world.said() == [removed("a"), removed("b"), removed("c")]
        assert list(copy.iterdir()) == []
        await cache.stop()

    asyncio.run(scenario())


def test_a_stop_leaves_to_the_next_start_what_it_could_not_send(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        cache = world.cache()
        await cache.start()
        world.log.away = True
        assert (await cache.remove("a")).queued
        assert (await cache.remove("b")).queued
        await cache.stop()
        assert "2 invalidations unsent; the next start sends them" in caplog.text
        world.log.away = False
        # the same object, and by then another process could have done it
        async with cache:
            await sent(cache)
            assert world.said() == [removed("a"), removed("b")]

    asyncio.run(scenario())


@pytest.mark.parametrize("recognise", [True, False])
@pytest.mark.parametrize("landed", [True, False])
def test_a_frame_of_unknown_fate_is_resent_as_it_was_before_anything_new(
    world: World, landed: bool, recognise: bool
) -> None:
    async def scenario() -> None:
        async with world.cache() as listener:
            cache = world.cache(folder=world.folder.with_name("victim"))
            await cache.start()
            assert (await cache.remove("before")).position
            world.log.attempts.clear()
            if landed:
                world.log.lose_acknowledgements = 10
            else:
                world.log.away = True
            assert (await cache.remove("open")).queued
            await eventually(lambda: bool(world.log.attempts))
            attempt = world.log.attempts[0]
            assert (await cache.remove("later")).queued
            world.folder = world.folder.with_name("victim")
            copy = world.killed()
            after = world.cache(folder=copy)
            world.log.recognise = recognise
            await after.start()
            await sent(after)
            assert world.log.attempts[0] == attempt
            assert set(world.log.attempts[1:]).isdisjoint({attempt})
            applied = listener._stream.reader  # type: ignore[union-attr]
            assert applied.gaps == 0
            assert applied.duplicates == (landed and not recognise)
            assert any(id.endswith(":1:2") for id, _ in world.log.attempts[1:])  # a new origin begins at 1
            told = world.said()
            assert told[0] == removed("before")
            assert told.count(removed("open")) == 1 + (landed and not recognise)
            assert told[-1] == removed("later")
            await after.stop()
            await cache.stop()

    asyncio.run(scenario())


def test_it_is_on_disk_before_remove_returns_and_before_the_append(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        cache = world.cache()
        await cache.start()
        steps: list[str] = []
        real = os.fsync

        def syncing(file: int) -> None:
            real(file)
            steps.append("sync")

        monkeypatch.setattr(slot.os, "fsync", syncing)
        world.log.on_append = lambda record, id: steps.append("append")
        await cache.remove("a")
        assert steps[-2:] == ["sync", "append"]
        world.log.away = True
        await cache.remove("b")
        steps.clear()
        await cache.remove("c")
        assert steps == ["sync"]
        await cache.stop()

    asyncio.run(scenario())


def test_a_process_that_ends_between_delete_and_announcement_is_finished_by_the_next(world: World) -> None:
    async def scenario() -> None:
        l2 = SharedMemory(world.store)
        cache = world.cache(l2=l2)
        await cache.start()
        await cache.set("k", "old")
        copies: list[Path] = []

        async def die() -> None:
            await cache._stream.journal.kept()  # type: ignore[union-attr]
            copies.append(world.killed())
            await asyncio.Event().wait()

        l2.before["delete"] = die
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cache.remove("k"), 0.05)
        told = len(world.said())
        assert ("default", "k") in world.store.entries
        async with world.cache(l2=SharedMemory(world.store), folder=copies[0]) as after:
            await sent(after)
            assert ("default", "k") not in world.store.entries
            assert world.said()[told:].count(removed("k")) >= 1
            assert list(after._stream.journal._notes) == []  # type: ignore[union-attr]
        await cache.stop()

    asyncio.run(scenario())


def test_a_delete_in_l2_that_failed_outlives_the_process_and_is_announced_again_when_done(world: World) -> None:
    async def scenario() -> None:
        l2 = SharedMemory(world.store)
        cache = world.cache(l2=l2)
        await cache.start()
        await cache.set("k", "old")
        l2.failing = {"*"}
        receipt = await cache.remove("k")
        assert receipt.position is not None
        await cache.remove("k")
        copy = world.killed()
        told = len(world.said())
        still = SharedMemory(world.store)
        still.failing = {"*"}
        after = world.cache(l2=still, folder=copy)
        await after.start()
        await sent(after)
        # told at once although L2 is away, and not read from it meanwhile
        assert world.said()[told:] == [removed("k")]
        assert await after.get("k") is None
        assert after.stats().distributed.late_deletes == 1
        still.failing = set()
        await eventually(lambda: after.stats().distributed.late_deletes == 0, timeout=10)
        await sent(after)
        assert ("default", "k") not in world.store.entries
        assert world.said()[told:] == [removed("k"), removed("k")]
        await after.stop()
        assert list(copy.iterdir()) == []
        await cache.stop()

    asyncio.run(scenario())


def test_deletes_that_are_left_at_a_stop_are_done_by_the_next_start_of_the_same_cache(world: World) -> None:
    async def scenario() -> None:
        l2 = SharedMemory(world.store)
        cache = world.cache(l2=l2)
        await cache.start()
        await cache.set("k", "old")
        l2.failing = {"*"}
        await cache.remove("k")
        await cache.stop()
        await cache.start()  # with L2 still away
        await sent(cache)
        await cache.stop()
        async with world.cache(l2=SharedMemory(world.store)) as after:
            await sent(after)
            assert ("default", "k") not in world.store.entries

    asyncio.run(scenario())


def test_a_full_outbox_coarsens_on_disk_as_well(world: World) -> None:
    async def scenario() -> None:
        cache = world.cache(outbox_max_events=5)
        await cache.start()
        world.log.away = True
        for number in range(40):
            await cache.remove(str(number), scope=f"scope {number % 3}")
        assert cache.stats().stream.outbox_coarsened > 0  # type: ignore[union-attr]
        assert len(cache._stream.journal._notes) <= 6  # type: ignore[union-attr]
        copy = world.killed()
        async with world.cache(folder=copy) as after:
            await sent(after)
            told = {event.scope for event in world.said() if hasattr(event, "scope")}
            assert told == {"scope 0", "scope 1", "scope 2"}
        await cache.stop()

    asyncio.run(scenario())


def test_many_late_deletes_are_noted_in_bounded_space(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_hybrid_cache.shared._MOST_NOTES", 20)
    monkeypatch.setattr("async_hybrid_cache.late._MOST_KEYS", 10)

    async def scenario() -> None:
        l2 = SharedMemory(world.store)
        cache = world.cache(l2=l2)
        await cache.start()
        l2.failing = {"*"}
        for number in range(300):
            await cache.remove(str(number), scope=f"scope {number // 7}")
        await sent(cache)
        assert len(cache._stream.journal._notes) <= 43  # type: ignore[union-attr]
        await cache.stop()

    asyncio.run(scenario())


def test_a_disk_that_fails_degrades_and_memory_serves_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_hybrid_cache.journal.journal._RETRY_SECONDS", 0.01)

    async def scenario() -> None:
        def full(file: int, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        cache = world.cache()
        await cache.start()
        with monkeypatch.context() as disk:
            disk.setattr(slot.os, "write", full)
            receipt = await cache.remove("a")
            assert receipt.position is not None
            health = cache.health()
            assert health.status == "degraded"
            assert "No space left on device" in health.reasons[0]
            assert cache.stats().stream.outbox_errors >= 1  # type: ignore[union-attr]
            assert cache.stats().stream.down_seconds is None  # type: ignore[union-attr]
            world.log.away = True
            assert (await cache.remove("b")).queued
        await eventually(lambda: "outbox" not in cache._stream.link.troubles)  # type: ignore[union-attr]
        copy = world.killed()
        async with world.cache(folder=copy) as after:
            await sent(after)
            assert world.said()[-1] == removed("b")
        await cache.stop()

    asyncio.run(scenario())


def test_an_outbox_that_cannot_be_kept_is_an_error_at_the_start(world: World) -> None:
    async def scenario() -> None:
        world.folder.write_text("a file")
        cache = world.cache()
        with pytest.raises(OutboxError, match="the outbox cannot be kept in"):
            await cache.start()
        assert cache.health().status == "stopped"
        world.folder.unlink()
        async with cache:
            assert (await cache.remove("a")).position

    asyncio.run(scenario())


def test_a_frame_that_a_stop_could_not_keep_is_resent_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        def broken(file: int, data: Any) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        cache = world.cache()
        await cache.start()
        world.log.lose_acknowledgements = 100
        world.log.attempts.clear()
        assert (await cache.remove("a")).queued
        attempt = world.log.attempts[0]
        with monkeypatch.context() as disk:
            disk.setattr(slot.os, "write", broken)
            await cache.stop()
        world.log.lose_acknowledgements = 0
        world.log.attempts.clear()
        async with cache:
            await sent(cache)
            assert world.log.attempts[0] == attempt
            assert world.said() == [removed("a")]

    asyncio.run(scenario())


def test_what_an_ended_process_removed_is_not_served_from_what_was_kept_before_the_start(world: World) -> None:
    async def scenario() -> None:
        cache = world.cache()
        await cache.start()
        world.log.away = True
        await cache.remove("k", "l")
        await cache.clear(scope="s")
        await cache.stop()
        after = world.cache()
        for scope in ("default", "s"):
            for key in ("k", "other"):
                await after.set(key, "old", scope=scope)
        world.log.away = True
        await after.start()
        assert [await after.get(key, scope=scope) for scope in ("default", "s") for key in ("k", "other")] == [
            None,
            "old",
            None,
            None,
        ]
        await after.stop()

    asyncio.run(scenario())


def test_a_change_that_cannot_be_noted_is_refused_and_leaves_nothing_behind(world: World) -> None:
    async def scenario() -> None:
        async with world.cache() as cache:
            with pytest.raises(EncodeError):
                await cache.remove("k", scope="\ud800")
            assert cache._lifecycle.changing == 0
            assert (await cache.remove("k")).position

    asyncio.run(scenario())


def test_a_log_without_a_name_of_its_own_is_known_by_its_class(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "__repr__", object.__repr__)

    async def scenario() -> None:
        cache = world.cache()
        await cache.start()
        world.log.away = True
        await cache.remove("a")
        await cache.stop()
        async with world.cache() as after:
            await sent(after)
            assert world.said() == [removed("a")]

    asyncio.run(scenario())


def test_only_what_invalidates_is_kept(world: World) -> None:
    async def scenario() -> None:
        cache = world.cache()
        await cache.start()
        world.log.away = True
        assert cache._stream is not None
        cache._stream.publish(PositionsAsked())
        cache._stream.publish(removed("a"))
        assert cache._stream.journal is not None
        assert len(cache._stream.journal._notes) == 1
        await cache.stop()

    asyncio.run(scenario())


# -- raise instead of queue ---------------------------------------------------------------------------------------


def test_raise_raises_after_l1_and_l2_and_does_not_keep_the_event(world: World) -> None:
    async def scenario() -> None:
        l2 = SharedMemory(world.store)
        cache = world.cache(l2=l2, on_log_failure="raise", append_timeout_seconds=0.1)
        await cache.start()
        await cache.set("k", 1)
        await cache.remove("warm")
        told = world.said()
        world.log.frozen = True
        # this one may be under way
        with pytest.raises(LogUnavailable, match="may have been told, or not: repeat the call"):
            await cache.remove("k")
        assert ("default", "k") not in world.store.entries
        assert await cache.get("k") is None
        await eventually(lambda: "writer" in cache._stream.link.troubles)  # type: ignore[union-attr]
        with pytest.raises(LogUnavailable, match="were not told"):
            await cache.set("k", 2)
        assert world.store.leases == {}
        for change in (cache.remove("k"), cache.clear()):
            with pytest.raises(LogUnavailable, match="were not told: repeat the call") as raised:
                await change
            assert isinstance(raised.value.__cause__, LogUnavailable)
        assert await cache.get("k") is None
        world.log.frozen = False
        await eventually(lambda: "writer" not in cache._stream.link.troubles)  # type: ignore[union-attr]
        assert (await cache.remove("again")).position is not None
        assert world.said() == [*told, removed("k"), removed("again")]
        await cache.stop()
        assert list(world.folder.iterdir()) == []

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(30))
def test_whatever_returned_before_the_process_ended_is_told_once(world: World, seed: int) -> None:
    """Ended at any moment, several times over, each life on what the last one left."""
    rng = random.Random(seed)

    async def life(number: int, folder: Path, away: bool) -> tuple[list[str], Path]:
        cache = world.cache(folder=folder)
        world.log.lose_acknowledgements = rng.randrange(3)
        world.log.away = away
        await cache.start()
        returned: list[str] = []

        async def write(writer: int) -> None:
            for count in range(5):
                key = f"{number}-{writer}-{count}"
                await cache.remove(key)
                returned.append(key)
                await asyncio.sleep(rng.random() * 0.004)

        writers = [asyncio.create_task(write(writer)) for writer in range(3)]
        await asyncio.sleep(rng.random() * 0.05)
        world.folder = folder
        promised, copy = list(returned), world.killed()
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        # nothing more of it reaches the log
        world.log.away = True
        await cache.stop()
        return promised, copy

    async def scenario() -> None:
        promised: list[str] = []
        folder = world.folder
        for number in range(3):
            kept, folder = await life(number, folder, away=rng.random() < 0.6)
            promised += kept
        async with world.cache(folder=folder) as last:
            await sent(last)
            told = [event.keys[0] for event in world.said() if isinstance(event, KeysRemoved)]
            assert set(promised) <= set(told)
            # a frame whose acknowledgement was lost with the process is known by its id
            ids = [record.id for record in world.log.records()]
            assert len(ids) == len(set(ids))

    asyncio.run(scenario())
