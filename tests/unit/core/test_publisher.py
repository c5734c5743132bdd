"""A publisher on logs and an L2 that fail on command: nothing is lost in silence, nothing said in the wrong order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from async_hybrid_cache import (
    CacheClosed,
    ConfigurationError,
    DistributedCacheError,
    InvalidationBus,
    LogRefused,
    LogUnavailable,
    Position,
    Receipt,
    StreamOptions,
)
from async_hybrid_cache.positions import ORIGIN
from async_hybrid_cache.publisher import InvalidationPublisher
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared, TagsInvalidated
from async_hybrid_cache_codecs.frames import OpenedFrame, open_frame
from tests.unit.core.clock import ManualClock
from tests.unit.core.recorder import Instance
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory


def publisher_on(log: ScriptedLog, l2: SharedMemory | None = None, **arguments: Any) -> InvalidationPublisher:
    options = StreamOptions(retry_max_seconds=0.05, call_timeout_seconds=0.2, append_timeout_seconds=0.2)
    return InvalidationPublisher(
        invalidation_bus=InvalidationBus(lambda: log, options),
        new_distributed_cache=lambda: l2,
        **{"timeout_seconds": 1.0, **arguments},
    )


def frames(log: ScriptedLog) -> list[OpenedFrame]:
    return [open_frame(record.data) for record in log.records()]


def test_instances_apply_what_is_published() -> None:
    async def scenario() -> None:
        async with Instance(ScriptedLog("published")) as instance:
            async with publisher_on(ScriptedLog("published"), name="nightly") as publish:
                receipt = await publish.remove("user:1", "user:2", scope="users")
                await publish.remove("x")
                await publish.clear(scope="users")
                await publish.invalidate_tags("red", "blue")
                await publish.clear()
            await instance.hears(
                KeysRemoved("users", ("user:1", "user:2")),
                KeysRemoved("default", ("x",)),
                ScopeCleared("users"),
                TagsInvalidated(("red", "blue")),
                CacheCleared(),
            )
            assert isinstance(receipt, Receipt)
            assert receipt == Receipt(Position(instance.stream.stamp.epoch, 2), False)
            assert instance.resets == []

    asyncio.run(scenario())


def test_one_life_is_one_origin() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        publisher = publisher_on(log, name="nightly")
        for _ in range(2):
            async with publisher:
                await publisher.remove("a")
                await publisher.remove("b")
            with pytest.raises(LogUnavailable, match="is not open"):
                await log.bounds()
        told = [(frame.origin, frame.first) for frame in frames(log)]
        assert [first for _, first in told] == [1, 2, 1, 2]
        assert len({origin for origin, _ in told}) == 2
        assert all(origin.startswith("nightly-") and len(origin) == len("nightly-") + 16 for origin, _ in told)

    asyncio.run(scenario())


def test_after_a_silence_the_origin_is_a_new_one() -> None:
    """A reader that started meanwhile would take the old one's next sequence for a gap."""

    async def scenario() -> None:
        clock = ManualClock()
        log = ScriptedLog()
        async with publisher_on(log, clock=clock) as publish:
            await publish.remove("a")
            clock.advance(9)
            await publish.remove("b")
            clock.advance(9)
            await publish.remove("c")
            clock.advance(11)
            await publish.remove("d")
        *spoken, last = frames(log)
        assert {frame.origin for frame in spoken} == {spoken[0].origin} != {last.origin}
        assert [frame.first for frame in spoken] == [1, 2, 3]
        assert last.first == 1

    asyncio.run(scenario())


def test_calls_made_at_once_leave_together() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with publisher_on(log) as publish:
            receipts = await asyncio.gather(*(publish.remove(str(n)) for n in range(200)))
        events = [event for frame in frames(log) for event in frame.events]
        assert events == [KeysRemoved("default", (str(n),)) for n in range(200)]
        assert len(log.records()) < 10
        assert all(receipt.position in {record.position for record in log.records()} for receipt in receipts)

    asyncio.run(scenario())


@pytest.mark.parametrize("recognise", [True, False])
def test_a_lost_acknowledgement_is_resent_as_it_was(recognise: bool) -> None:
    async def scenario() -> None:
        name = f"publisher-{recognise}"
        log = ScriptedLog(name, recognise=recognise)
        async with Instance(ScriptedLog(name)) as instance, publisher_on(log) as publish:
            log.lose_acknowledgements = 2
            await publish.remove("a")
            await publish.remove("b")
            assert len(log.attempts) == 4
            assert len(set(log.attempts[:3])) == 1
            await instance.hears(KeysRemoved("default", ("a",)), KeysRemoved("default", ("b",)))
            assert instance.resets == []

    asyncio.run(scenario())


def test_a_log_that_stays_away_is_told_in_bounded_time_and_the_event_goes_out_later() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with publisher_on(log, timeout_seconds=0.3) as publish:
            log.away = True
            with pytest.raises(LogUnavailable, match=r"repeat the call.*\(the log is away\)") as caught:
                await publish.remove("a")
            assert isinstance(caught.value.__cause__, LogUnavailable)
            log.away = False
            assert (await publish.remove("b")).position is not None
        assert [e for frame in frames(log) for e in frame.events] == [
            KeysRemoved("default", ("a",)),
            KeysRemoved("default", ("b",)),
        ]

    asyncio.run(scenario())


def test_a_frozen_log_is_told_in_bounded_time() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        publisher = publisher_on(log, timeout_seconds=0.3)
        async with publisher as publish:
            log.frozen = True
            async with asyncio.timeout(5):
                with pytest.raises(LogUnavailable):
                    await publish.clear()
                await publisher.close()
                with pytest.raises(LogUnavailable, match="could not be reached within"):
                    await publisher.open()

    asyncio.run(scenario())


def test_a_refusal_is_told_at_once_and_the_next_call_begins_anew() -> None:
    async def scenario() -> None:
        log = ScriptedLog()

        def refuse(record: bytes, id: str) -> None:
            raise LogRefused("too large")

        async with publisher_on(log, timeout_seconds=30) as publish:
            await publish.remove("a")
            log.on_append = refuse
            async with asyncio.timeout(5):
                with pytest.raises(LogRefused, match="too large") as caught:
                    await publish.remove("b")
            assert caught.value.__cause__ is None
            log.on_append = None
            await publish.remove("c")
        origins = [(frame.origin, frame.first) for frame in frames(log)]
        assert [first for _, first in origins] == [1, 2, 1]
        assert origins[2][0] != origins[0][0]

    asyncio.run(scenario())


def test_a_log_that_was_recreated_is_opened_again() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with publisher_on(log) as publish:
            before = (await publish.remove("a")).position
            log.delete()
            after = (await publish.remove("b")).position
            assert before is not None
            assert after is not None
            assert after.epoch > before.epoch

    asyncio.run(scenario())


# -- L2 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "call"),
    [
        (lambda publish: publish.remove("a", "b", scope="s"), "delete"),
        (lambda publish: publish.clear(scope="s"), "clear"),
        (lambda publish: publish.clear(), "clear"),
    ],
)
def test_l2_is_deleted_in_before_the_announcement(change: Callable[[InvalidationPublisher], Any], call: str) -> None:
    async def scenario() -> None:
        log, l2 = ScriptedLog(), SharedMemory()
        order: list[str] = []
        log.on_append = lambda record, id: order.append("append")

        async def deleting() -> None:
            order.append("delete")

        l2.before[call] = deleting
        async with publisher_on(log, l2) as publish:
            await change(publish)
        assert order == ["delete", "append"]

    asyncio.run(scenario())


def test_what_was_removed_is_gone_from_l2() -> None:
    async def scenario() -> None:
        log, l2 = ScriptedLog(), SharedMemory()
        async with publisher_on(log, l2) as publish:
            for key in ("a", "b"):
                token = await l2.lease("s", key, lease_seconds=10)
                assert await l2.fill("s", key, b"old", stamp=ORIGIN, ttl=60, token=token)
            await publish.remove("a", scope="s")
            assert list(l2.store.entries) == [("s", "b")]

    asyncio.run(scenario())


def test_l2_that_is_away_for_a_moment_is_tried_again() -> None:
    async def scenario() -> None:
        log, l2 = ScriptedLog(), SharedMemory()
        async with publisher_on(log, l2) as publish:
            l2.failing = {"delete"}
            call = asyncio.create_task(publish.remove("a"))
            await eventually(lambda: l2.calls.count("delete") >= 2)
            assert not log.records()
            l2.failing.clear()
            assert (await call).position == log.records()[0].position

    asyncio.run(scenario())


def test_whatever_l2_raises_is_a_failure_of_l2() -> None:
    async def scenario() -> None:
        log, l2 = ScriptedLog(), SharedMemory()

        async def broken() -> None:
            raise ZeroDivisionError

        l2.before["delete"] = broken
        async with publisher_on(log, l2) as publish:
            assert (await publish.remove("a")).position is not None
        assert l2.calls.count("delete") == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["failing", "frozen"])
def test_l2_that_stays_away_is_told_after_the_announcement(fault: str) -> None:
    async def scenario() -> None:
        log, l2 = ScriptedLog(), SharedMemory()
        async with publisher_on(log, l2, timeout_seconds=0.4) as publish:
            setattr(l2, fault, {"delete", "clear"})
            for call in (publish.remove("a"), publish.clear()):
                with pytest.raises(DistributedCacheError, match=r"announced at \d+-\d.*repeat the call"):
                    await call
            getattr(l2, fault).clear()
            await publish.remove("a")
        assert len(log.records()) == 3

    asyncio.run(scenario())


def test_open_fails_where_l2_cannot_be_opened() -> None:
    async def scenario() -> None:
        l2 = SharedMemory()
        l2.failing = {"open"}
        publisher = publisher_on(ScriptedLog(), l2)
        with pytest.raises(DistributedCacheError):
            await publisher.open()
        with pytest.raises(CacheClosed):
            await publisher.remove("a")
        l2.failing.clear()
        async with publisher:
            await publisher.remove("a")

    asyncio.run(scenario())


# -- life and arguments --------------------------------------------------------------------------------------


def test_a_caller_that_is_cancelled_holds_up_nobody() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with publisher_on(log) as publish:
            log.frozen = True
            given_up = asyncio.create_task(publish.remove("a"))
            await eventually(lambda: log.attempts)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            log.frozen = False
            await publish.remove("b")
        assert [e for frame in frames(log) for e in frame.events] == [
            KeysRemoved("default", ("a",)),
            KeysRemoved("default", ("b",)),
        ]

    asyncio.run(scenario())


def test_it_is_used_open_and_in_its_own_loop() -> None:
    publisher = publisher_on(ScriptedLog())

    async def closed() -> None:
        with pytest.raises(CacheClosed, match="use 'async with'"):
            await publisher.remove("a")
        await publisher.close()

    async def opened_and_left() -> None:
        await publisher.open()
        await publisher.open()
        await publisher.remove("a")

    asyncio.run(closed())
    asyncio.run(opened_and_left())
    asyncio.run(closed())
    asyncio.run(opened_and_left())

    async def elsewhere() -> None:
        async with publisher:
            with pytest.raises(CacheClosed, match="another event loop"):
                await asyncio.to_thread(asyncio.run, publisher.open())

    asyncio.run(elsewhere())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": ""}, "name must be text"),
        ({"name": 5}, "name must be text"),
        ({"timeout_seconds": 0}, "timeout_seconds must be a number above 0"),
        ({"invalidation_bus": None}, "invalidation_bus is missing"),
        ({"invalidation_bus": "redis://u:geheim@h"}, "invalidation_bus must be an InvalidationBus object, not str"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments: dict[str, Any], told: str) -> None:
    bus = InvalidationBus(ScriptedLog)
    with pytest.raises(ConfigurationError, match=told) as caught:
        InvalidationPublisher(**{"invalidation_bus": bus, **arguments})
    assert "geheim" not in str(caught.value)


def test_a_configuration_names_bus_and_l2() -> None:
    with pytest.raises(ConfigurationError, match="bus is missing"):
        InvalidationPublisher.from_config({})
    publisher = InvalidationPublisher.from_config({"bus": "redis://u:geheim@h/0", "l2": "redis://u:geheim@h/1"})
    assert repr(publisher) == "InvalidationPublisher(RedisStreamsInvalidationBus(RedisStreamsLog('ahc:invalidation')))"
    with pytest.raises(ConfigurationError, match="port"):
        InvalidationPublisher.from_url("redis://u:geheim@h:0")


def test_keys_and_scopes_are_text() -> None:
    async def scenario() -> None:
        async with publisher_on(ScriptedLog()) as publish:
            for call in (publish.remove(5), publish.remove("a", scope=b"s"), publish.clear(scope=5)):  # type: ignore[arg-type]
                with pytest.raises(ConfigurationError):
                    await call

    asyncio.run(scenario())
