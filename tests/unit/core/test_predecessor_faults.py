"""Every numbered fault of the direct predecessor that shows within one process."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from typing import Any

import httpx
from fastapi import Depends, FastAPI

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    InvalidationBus,
    MsgpackSerializer,
    Serializer,
    StreamOptions,
)
from async_hybrid_cache.positions import ORIGIN
from async_hybrid_cache.store import LocalStore
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.sqlite import SqliteDistributedCache
from async_hybrid_cache_codecs.events import KeysRemoved
from async_hybrid_cache_codecs.frames import seal
from tests.unit.core.clock import ManualClock
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store

QUICK: dict[str, Any] = {"retry_max_seconds": 0.05, "call_timeout_seconds": 0.2, "proof_seconds": 0.05}


def on(log: ScriptedLog, l2: SharedMemory | None = None, **stream: Any) -> AsyncHybridCache:
    bus = InvalidationBus(lambda: log, StreamOptions(**{**QUICK, **stream}))
    return AsyncHybridCache(invalidation_bus=bus, distributed_cache=l2)


def gaps(cache: AsyncHybridCache) -> int:
    stream = cache.stats().stream
    assert stream is not None
    return stream.gap_total


async def hears(cache: AsyncHybridCache, speaker: AsyncHybridCache) -> None:
    """A change made at `speaker` arrives at `cache`."""
    await cache.set("probe", 1)
    await eventually(lambda: cache.stats().entries)
    await speaker.remove("probe")
    await eventually(lambda: cache.stats().entries == 0, timeout=2, message="the listener is dead")


def test_fault_01_a_listener_never_dies_silently() -> None:
    async def scenario() -> None:
        log = ScriptedLog("fault-1")
        async with on(log) as cache, on(ScriptedLog("fault-1")) as speaker:
            proofs = log.proofs
            await eventually(lambda: log.proofs >= proofs + 3)  # idle meanwhile
            await hears(cache, speaker)
            for fault in ("away", "frozen"):
                setattr(log, fault, True)
                await eventually(lambda: cache.health().status == "degraded")
                assert "for" in cache.health().reasons[0]
                setattr(log, fault, False)
                await hears(cache, speaker)
            log.delete()
            await eventually(lambda: gaps(cache) == gaps(speaker) == 1)
            await hears(cache, speaker)
            log.forge(b"malformed", "malformed")
            await eventually(lambda: gaps(cache) == 2)
            await hears(cache, speaker)
            apply = cache._scopes.apply
            cache._scopes.apply = lambda event, position: 1 / 0  # type: ignore[assignment, return-value]
            await speaker.remove("x")
            await eventually(lambda: gaps(cache) == 3)
            cache._scopes.apply = apply  # type: ignore[method-assign]
            await hears(cache, speaker)
            await eventually(lambda: cache.health().status == "ok")

    asyncio.run(scenario())


def test_fault_02_what_was_missed_is_replayed_or_said_to_be_lost() -> None:
    async def scenario() -> None:
        log = ScriptedLog("fault-2")
        async with on(log) as cache, on(ScriptedLog("fault-2")) as speaker:
            for number in range(5000):
                await cache.set(str(number), number)
            await eventually(lambda: cache.stats().stream.lag == 0)  # type: ignore[union-attr]
            log.away = True
            await eventually(lambda: cache.health().status == "degraded")
            await asyncio.gather(*[speaker.remove(str(number)) for number in range(5000)])
            assert cache.stats().entries == 5000
            log.away = False
            await eventually(lambda: cache.stats().entries == 0)
            assert gaps(cache) == 0
            # trimmed past the reader: it cannot know, so it keeps nothing and says so
            for number in range(100):
                await cache.set(str(number), number)
            log.away = True
            await eventually(lambda: cache.health().status == "degraded")
            for number in range(10):
                await speaker.remove(str(number))
            log.trim(keep=2)
            log.away = False
            await eventually(lambda: cache.stats().entries == 0)
            assert gaps(cache) == 1

    asyncio.run(scenario())


def test_fault_03_a_removal_during_a_load_keeps_the_old_value_out() -> None:
    async def scenario() -> None:
        async with on(ScriptedLog("fault-3")) as one, on(ScriptedLog("fault-3")) as two:
            for remover in (one, two):
                release = asyncio.Event()

                async def slow(release: asyncio.Event = release) -> str:
                    await release.wait()
                    return "old"

                task = asyncio.create_task(one.get_or_set("k", slow))
                await eventually(lambda: one.scope_state("default").loads)
                fenced = one.stats().fenced
                await remover.remove("k")
                await eventually(lambda: one.stats().fenced > fenced)  # noqa: B023
                release.set()
                assert await task == "old"
                assert await one.get("k", "missing") == "missing"

    asyncio.run(scenario())


def test_fault_04_a_read_between_the_l1_drop_and_the_l2_delete_refills_nothing() -> None:
    async def scenario() -> None:
        l2 = SharedMemory()
        database = "old"

        async def load() -> str:
            return database

        async with on(ScriptedLog(), l2) as cache:
            await cache.get_or_set("k", load)
            await eventually(lambda: l2.store.entries)
            database = "new"

            async def read_between() -> None:
                assert await cache.get_or_set("k", load) == "old"

            l2.before["delete"] = read_between
            await cache.remove("k")
            assert await cache.get_or_set("k", load) == "new"

    asyncio.run(scenario())


def test_fault_05_a_failing_l2_never_raises_and_never_costs_more_than_one_timeout() -> None:
    async def scenario() -> None:
        l2, clock = SharedMemory(), ManualClock()
        cache = AsyncHybridCache(
            distributed_cache=l2, clock=clock, invalidation_bus=InvalidationBus(lambda: ScriptedLog("f5"))
        )
        value: Any = "loaded"

        async def load() -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        async with cache, on(ScriptedLog("f5")) as peer:
            l2.failing = {"fill"}
            assert await cache.get_or_set("k", load) == "loaded"
            assert await cache.get("k") == "loaded"
            await eventually(lambda: cache.stats().distributed.state == "up")
            l2.failing = {"*"}
            assert await cache.get_or_set("other", load) == "loaded"
            clock.advance(100)
            value = OSError("down")
            assert await cache.get_or_set("k", load) == "loaded"
            await peer.set("k", 1)
            await cache.remove("k")
            await eventually(lambda: peer.stats().entries == 0)
            value, l2.failing, l2.frozen = "again", set(), {"*"}
            started = time.monotonic()
            assert await cache.get_or_set("frozen", load) == "again"
            assert await cache.get_or_set("frozen too", load) == "again"
            assert time.monotonic() - started < 1

    asyncio.run(scenario())


def test_fault_06_fail_safe_is_throttled_and_nobody_waits_in_series() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        cache = AsyncHybridCache(clock=clock, options=CacheOptions(ttl_seconds=1, hard_timeout_seconds=0.2))
        calls = 0

        async def hang() -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(3600)
            return ""

        async def fail() -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            raise OSError("down")

        await cache.set("k", "stale")
        clock.advance(1)
        started = time.monotonic()
        for _ in range(3):
            assert await asyncio.gather(*[cache.get_or_set("k", hang) for _ in range(20)]) == ["stale"] * 20
        assert time.monotonic() - started < 0.35
        assert calls == 1
        failed = await asyncio.gather(*[cache.get_or_set("none", fail) for _ in range(20)], return_exceptions=True)
        assert {type(error) for error in failed} == {OSError}
        assert calls == 2

    asyncio.run(scenario())


def test_fault_07_nothing_grows_with_the_number_of_keys_ever_seen() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        cache = AsyncHybridCache(clock=clock)
        options = CacheOptions(lru_max_keys=None, ttl_seconds=1, fail_safe_seconds=0)
        unbounded = cache.scope("unbounded", options=options)

        async def load() -> int:
            return 1

        for number in range(20_000):
            clock.advance(0.001)
            await cache.get_or_set(str(number), load)
            await unbounded.get_or_set(str(number), load)
        state = cache.scope_state("default")
        assert len(state.store) == 10_000  # bounded by default
        assert not state.loads
        assert not state.probes
        assert state.store.slots <= 2 * 10_000
        assert cache.scope_state("unbounded").store.slots < 5_000  # expired ones left by themselves

    asyncio.run(scenario())


def test_fault_08_clear_reaches_l2_none_is_kept_there_and_a_hit_has_no_second_life() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        store = Store(clock)
        options = CacheOptions(ttl_seconds=2, fail_safe_seconds=0)
        one, two = (
            AsyncHybridCache(distributed_cache=SharedMemory(store), clock=clock, options=options) for _ in range(2)
        )
        async with one, two:
            await one.set("k", None)
            clock.advance(1.8)
            assert await two.get("k", "missing") is None
            clock.advance(0.2)
            assert await two.get("k", "missing") == "missing"
            await one.set("k", 1)
            await one.set("k", 1, scope="other")
            await one.clear(scope="default")
            assert list(store.entries) == [("other", "k")]
            await one.clear()
            assert not store.entries

    asyncio.run(scenario())


def test_fault_09_no_pickle_unless_asked_for_and_no_object_shared(tmp_path: Any) -> None:
    async def scenario() -> None:
        l2 = SqliteDistributedCache(tmp_path / "l2.db")
        assert isinstance(l2.serializer, MsgpackSerializer)
        assert isinstance(l2.serializer, Serializer)
        cache = AsyncHybridCache()
        await cache.set("k", {"roles": ["user"]})
        (await cache.get("k"))["roles"].append("admin")
        assert await cache.get("k") == {"roles": ["user"]}

    asyncio.run(scenario())


def test_fault_10_a_cached_function_is_a_function_a_dependency_an_endpoint_and_a_method() -> None:
    cache, app = AsyncHybridCache(), FastAPI()
    calls = 0

    @cache.cached("user:{user_id}")
    async def load_user(user_id: int, verbose: bool = False) -> dict[str, Any]:
        """Load."""
        nonlocal calls
        calls += 1
        return {"id": user_id, "verbose": verbose}

    class Service:
        @cache.cached("service:{user_id}")
        async def load(self, user_id: int) -> dict[str, int]:
            return {"id": user_id}

    app.get("/endpoint/{user_id}")(load_user)
    app.get("/method/{user_id}")(Service().load)

    @app.get("/depends/{user_id}")
    async def depends(user: dict[str, Any] = Depends(load_user)) -> dict[str, Any]:  # noqa: B008
        return user

    assert inspect.iscoroutinefunction(load_user)
    assert (load_user.__name__, load_user.__doc__) == ("load_user", "Load.")
    assert list(inspect.signature(load_user).parameters) == ["user_id", "verbose"]
    assert inspect.unwrap(load_user) is load_user.__wrapped__

    async def scenario() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            assert (await client.get("/endpoint/7?verbose=true")).json() == {"id": 7, "verbose": True}
            assert (await client.get("/depends/7")).json() == {"id": 7, "verbose": True}
            assert (await client.get("/method/8")).json() == {"id": 8}
            assert (await client.get("/endpoint/x")).status_code == 422
            assert calls == 1

    asyncio.run(scenario())


def test_fault_11_two_hundred_concurrent_removals_all_succeed_on_one_connection() -> None:
    async def scenario() -> None:
        log = ScriptedLog("fault-11")
        flying, most = 0, 0
        append = log.append

        async def counted(record: bytes, id: str) -> Any:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0)
            flying -= 1
            return await append(record, id)

        log.append = counted  # type: ignore[method-assign]
        async with on(log) as cache:
            receipts = await asyncio.gather(*[cache.remove(str(number)) for number in range(200)])
            assert all(receipt.position is not None and not receipt.queued for receipt in receipts)
            assert most == 1
            assert len(log.records()) <= 4

    asyncio.run(scenario())


def test_others_timers_left_behind_by_a_clear_delete_nothing_later() -> None:
    """aiocache: the timer of an entry that was cleared deletes its successor."""

    async def scenario() -> None:
        clock = ManualClock()
        cache = AsyncHybridCache(clock=clock, options=CacheOptions(ttl_seconds=10))
        await cache.set("k", "first", options=CacheOptions(ttl_seconds=0.01))
        await cache.clear()
        await cache.set("k", "second")
        clock.advance(5)
        await asyncio.sleep(0.05)
        assert await cache.get("k") == "second"

    asyncio.run(scenario())


def test_others_a_background_cleanup_deletes_no_live_key() -> None:
    """cachka."""
    rng = random.Random(1)
    store = LocalStore(None)
    for number in range(5000):
        until = rng.choice([10.0, 1000.0])
        store.put(str(number), until, None, until, until, ORIGIN, 0.0)
    live = {key for key, entry in store.entries.items() if entry.stale_until > 100}
    for _ in range(30):
        store.sweep(100.0, 1000)
    assert store.entries.keys() == live


def test_others_a_load_does_not_tell_the_fleet() -> None:
    """JetCache: loader fills broadcast as changes."""

    async def scenario() -> None:
        log = ScriptedLog()
        async with on(log) as cache:
            before = len(log.attempts)

            async def load() -> int:
                return 1

            for number in range(20):
                await cache.get_or_set(str(number), load)
            assert len(log.attempts) == before

    asyncio.run(scenario())


def test_others_a_frame_of_a_dead_origin_is_applied_like_any_other() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with on(log) as cache:
            await cache.set("k", 1)
            frame = seal(1, "cron-job", 1, 0, [KeysRemoved("default", ("k",))])
            log.forge(frame.data, frame.id)
            await eventually(lambda: cache.stats().entries == 0)

    asyncio.run(scenario())
