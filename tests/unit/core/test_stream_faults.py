"""The stream in bad order: whatever the log does, nothing is lost, or it is said."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest

from async_hybrid_cache.errors import LogRefused
from async_hybrid_cache.stream.supervisor import supervise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared, Event, InstanceStarted, KeysRemoved
from async_hybrid_cache_codecs.frames import open_frame, seal
from tests.unit.core.recorder import Instance
from tests.unit.core.scripted_log import ScriptedLog

pack = msgspec.msgpack.encode


def removed(key: object) -> KeysRemoved:
    return KeysRemoved("scope", (str(key),))


def frame(origin: str, first: int, *events: Event) -> tuple[bytes, str]:
    sealed = seal(1, origin, first, 0, events)
    return sealed.data, sealed.id


def raw_frame(origin: str, first: int, *events: dict[str, object]) -> tuple[bytes, str]:
    data = pack({"v": 1, "e": 1, "o": origin, "f": first, "at": 0, "events": list(events)})
    return data, f"{origin}:{first}:{first + len(events) - 1}"


@pytest.mark.parametrize("recognise", [True, False])
def test_a_frame_whose_acknowledgement_was_lost_is_resent_as_it_was(recognise: bool) -> None:
    async def scenario() -> None:
        name = f"lost-acknowledgement-{recognise}"
        log = ScriptedLog(name, recognise=recognise)
        async with Instance(log) as one, Instance(ScriptedLog(name)) as two:
            log.attempts.clear()
            log.lose_acknowledgements = 3
            first = one.stream.publish(removed(1))
            await eventually(lambda: len(log.attempts) >= 2)
            # what comes meanwhile must not be grouped into the frame whose fate is open
            second = one.stream.publish(removed(2))
            await eventually(lambda: first.position and second.position)
            assert len(set(log.attempts[:4])) == 1
            assert len({id for id, _ in log.attempts}) == 2
            await two.hears(removed(1), removed(2))
            await one.hears(removed(1), removed(2)) if recognise else None
            assert two.stream.reader.duplicates == (0 if recognise else 3)
            assert two.resets == one.resets == []

    asyncio.run(scenario())


def test_what_is_queued_during_an_outage_goes_out_in_order_once() -> None:
    async def scenario() -> None:
        log = ScriptedLog("outage")
        async with Instance(log) as one, Instance(ScriptedLog("outage")) as two:
            log.away = True
            events = [removed(number) for number in range(100)]
            pendings = [one.stream.publish(event) for event in events]
            await eventually(lambda: one.stream.link.down_since is not None)
            # nobody waits for a log that is known to be away
            assert await asyncio.wait_for(pendings[0].wait(30), 1) is None
            log.away = False
            await two.hears(*events)
            await eventually(lambda: one.stream.link.down_since is None)
            assert one.stream.link.reconnects >= 1
            assert one.resets == []

    asyncio.run(scenario())


def test_a_deaf_reader_replays_exactly_what_it_missed() -> None:
    async def scenario() -> None:
        log = ScriptedLog("cut")
        async with Instance(ScriptedLog("cut")) as one, Instance(log) as two:
            await one.publish(removed("heard"))
            await two.hears(removed("heard"))
            log.away = True
            missed = [removed(number) for number in range(2500)]
            for event in missed:
                one.stream.publish(event)
            await eventually(lambda: two.stream.link.down_since is not None)
            await eventually(lambda: not len(one.stream.outbox))
            assert two.changes() == [removed("heard")]
            log.away = False
            await two.hears(removed("heard"), *missed)
            assert two.resets == []
            assert two.stream.reader.replayed >= 5  # records, of up to 512 events each

    asyncio.run(scenario())


def test_a_frozen_log_is_noticed_and_survived() -> None:
    async def scenario() -> None:
        log = ScriptedLog("frozen")
        async with Instance(ScriptedLog("frozen")) as one, Instance(log) as two:
            log.frozen = True
            await eventually(lambda: two.stream.link.down_since is not None, timeout=2)
            await one.publish(removed(1))
            log.frozen = False
            await two.hears(removed(1))
            assert two.resets == []

    asyncio.run(scenario())


def test_an_undecodable_record_is_a_gap_and_reading_goes_on() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            for data in (b"\x00", b"\xc1", b"junk", pack({"v": 99}), pack([])):
                log.forge(data, f"junk-{data!r}")
            await one.caught_up()
            assert one.stream.reader.undecodable == 5
            assert len(one.resets) == one.stream.reader.gaps == 5
            await one.publish(removed(1))
            assert one.changes() == [removed(1)]

    asyncio.run(scenario())


def test_an_unknown_event_is_skipped_where_it_may_be_and_a_reset_where_not() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            log.forge(*raw_frame("new", 1, {"t": "weather", "i": True}, {"t": "cache_cleared"}))
            await one.hears(CacheCleared())
            assert (one.stream.reader.unknown, one.resets) == (1, [])
            log.forge(*raw_frame("new", 3, {"t": "half_removed"}, {"t": "cache_cleared", "later": 1}))
            await one.hears(CacheCleared(), CacheCleared())
            assert one.stream.reader.unknown == 2
            assert len(one.resets) == 1
            assert "half_removed" in one.resets[0]

    asyncio.run(scenario())


def test_a_hole_in_the_sequence_of_an_origin_is_a_gap() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            log.forge(*frame("other", 1, InstanceStarted("other"), removed(1)))
            log.forge(*frame("other", 3, removed(2)))
            await one.hears(removed(1), removed(2))
            assert one.resets == []
            log.forge(*frame("other", 5, removed(4)))
            await one.hears(removed(1), removed(2), removed(4))
            assert len(one.resets) == 1
            assert "missing before 5" in one.resets[0]
            log.forge(*frame("other", 6, removed(5)))
            await one.caught_up()
            assert len(one.resets) == 1

    asyncio.run(scenario())


def test_an_origin_that_begins_in_the_middle_is_a_gap_once_everybody_is_known() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as young, Instance(log, heartbeat_seconds=0.001, proof_seconds=0.5) as old:
            await asyncio.sleep(0.01)
            log.forge(*frame("stranger", 7, removed(1)))
            await young.hears(removed(1))
            await old.hears(removed(1))
            assert young.resets == []
            assert len(old.resets) == 1

    asyncio.run(scenario())


def test_duplicates_change_nothing_twice() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            data, id = frame("other", 1, removed(1), removed(2))
            for number in range(3):
                log.forge(data, f"{id}-{number}")
            # a writer that regrouped what it had sent: only the new part counts
            log.forge(*frame("other", 2, removed(2), removed(3)))
            await one.hears(removed(1), removed(2), removed(3))
            assert one.stream.reader.duplicates == 2
            assert one.resets == []

    asyncio.run(scenario())


def test_a_raising_listener_is_a_gap_and_kills_nothing() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            one.raising = RuntimeError("a bug")
            log.forge(*frame("other", 1, removed(1)))
            await one.caught_up()
            assert len(one.resets) == 1
            assert "a bug" in one.resets[0]
            one.raising = None
            log.forge(*frame("other", 2, removed(2)))
            await one.hears(removed(2))

    asyncio.run(scenario())


def test_a_listener_that_raises_on_an_own_acknowledgement_kills_nothing_either() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            one.raising = RuntimeError("a bug")
            pending = one.stream.publish(removed(1))
            await eventually(lambda: one.resets)
            one.raising = None
            await eventually(lambda: pending.position is not None)
            await one.publish(removed(2))
            await eventually(lambda: one.stream.link.down_since is None)

    asyncio.run(scenario())


def test_a_coarsened_outbox_still_invalidates_everything_elsewhere() -> None:
    async def scenario() -> None:
        log = ScriptedLog("coarse")
        async with Instance(log, outbox_max_events=10) as one, Instance(ScriptedLog("coarse")) as two:
            log.away = True
            await eventually(lambda: one.stream.link.down_since is not None)
            for number in range(50):
                one.stream.publish(KeysRemoved("users", (str(number),)))
            one.stream.publish(removed("x"))
            assert len(one.stream.outbox) <= 11
            assert one.stream.outbox.coarsened >= 1
            log.away = False
            await eventually(lambda: not len(one.stream.outbox))
            await two.caught_up()
            cleared = {type(event).__name__: event for event in two.changes()}
            assert "ScopeCleared" in cleared or "CacheCleared" in cleared
            assert two.resets == []

    asyncio.run(scenario())


def test_backoff_is_capped_and_jittered() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        log.away = True
        one = Instance(log, retry_max_seconds=0.75)
        one.stream.rng = random.Random(1)
        waits: list[float] = []
        sleep = asyncio.sleep

        async def no_sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 200:
                await asyncio.Event().wait()
            await sleep(0)

        async def nothing() -> None: ...

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "sleep", no_sleep)
            task = asyncio.create_task(supervise(one.stream.link, "reader", nothing))
            while len(waits) < 200:
                await sleep(0)
            task.cancel()
        assert 0.02 < waits[0] <= 0.05
        assert all(0.37 < wait <= 0.75 for wait in waits[10:])
        assert len(set(waits)) > 190

    asyncio.run(scenario())


def test_any_surprise_is_survived() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log) as one:
            surprises: list[Exception] = [KeyError("driver bug"), OSError(104, "reset"), LogRefused("denied")]

            def surprise(data: bytes, id: str) -> None:
                if surprises:
                    raise surprises.pop()

            log.on_append = surprise
            await one.publish(removed(1))
            assert not surprises
            await one.hears(removed(1))
            assert open_frame(log.records()[-1].data).last == 2

    asyncio.run(scenario())
