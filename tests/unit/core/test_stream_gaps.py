"""A log that was trimmed, deleted or lost its tail: proved intact, or said to be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import Event, KeysRemoved
from async_hybrid_cache_codecs.frames import seal
from tests.unit.core.recorder import Instance
from tests.unit.core.scripted_log import ScriptedLog


def removed(key: object) -> KeysRemoved:
    return KeysRemoved("scope", (str(key),))


def frame(origin: str, first: int, *events: Event) -> tuple[bytes, str]:
    sealed = seal(1, origin, first, 0, events)
    return sealed.data, sealed.id


def test_a_trimmed_log_is_a_counted_reset() -> None:
    async def scenario() -> None:
        log, deaf = ScriptedLog("trimmed"), ScriptedLog("trimmed")
        async with Instance(log) as one, Instance(deaf) as two:
            deaf.away = True
            await eventually(lambda: two.stream.link.down_since is not None)
            for number in range(20):
                await one.publish(removed(number))
            log.trim(keep=3)
            deaf.away = False
            await eventually(lambda: two.resets)
            assert two.resets == ["the log was trimmed past this instance"]
            await one.publish(removed("after"))
            await two.hears(removed("after"))
            assert one.resets == []

    asyncio.run(scenario())


def test_a_log_trimmed_exactly_up_to_the_reader_is_intact() -> None:
    async def scenario() -> None:
        log, read = ScriptedLog("trimmed-exactly"), ScriptedLog("trimmed-exactly")
        async with Instance(log) as one, Instance(read) as two:
            for number in range(20):
                await one.publish(removed(number))
            await two.caught_up()
            log.trim(keep=1)
            proofs = read.proofs
            await eventually(lambda: read.proofs >= proofs + 3)
            await one.publish(removed("after"))
            await eventually(lambda: removed("after") in two.changes())
            assert one.resets == two.resets == []

    asyncio.run(scenario())


def test_a_deleted_log_is_a_counted_reset_on_every_instance() -> None:
    async def scenario() -> None:
        log = ScriptedLog("deleted")
        async with Instance(log) as one, Instance(ScriptedLog("deleted")) as two:
            await one.publish(removed(1))
            log.delete()
            await eventually(lambda: one.resets and two.resets)
            await one.publish(removed(2))
            await eventually(lambda: removed(2) in two.changes())
            await two.publish(removed(3))
            await eventually(lambda: removed(3) in one.changes())
            assert one.resets == two.resets == ["the log has another epoch"]

    asyncio.run(scenario())


def test_a_log_that_lost_its_tail_is_renewed_by_its_writer() -> None:
    async def scenario() -> None:
        log = ScriptedLog("tail")
        async with Instance(log) as one, Instance(ScriptedLog("tail")) as two:
            for number in range(5):
                await one.publish(removed(number))
            await two.caught_up()
            epoch = log._records.epoch
            log.lose_tail(2)
            await eventually(lambda: one.resets and two.resets)
            assert log._records.epoch > epoch
            await one.publish(removed("after"))
            await eventually(lambda: removed("after") in two.changes())
            assert len(one.resets) == len(two.resets) == 1

    asyncio.run(scenario())


def test_a_lost_tail_whose_offsets_were_used_again_is_noticed() -> None:
    async def scenario() -> None:
        log = ScriptedLog("reused")
        async with Instance(log) as one, Instance(ScriptedLog("reused")) as two:
            for number in range(5):
                await one.publish(removed(number))
            await two.caught_up()
            log.lose_tail(2)
            log.forge(*frame("third", 1, removed("a")))
            log.forge(*frame("third", 2, removed("b")))
            await eventually(lambda: one.resets and two.resets)
            await one.publish(removed("after"))
            await eventually(lambda: removed("after") in two.changes())

    asyncio.run(scenario())


def test_a_lost_tail_that_a_stranger_filled_beyond_the_reader_is_noticed_before_the_stranger_is_believed() -> None:
    async def scenario() -> None:
        log, calm = ScriptedLog("beyond"), {"proof_seconds": 60.0, "heartbeat_seconds": 60.0}
        # the stranger may be met in the middle, and the next proof would find its record where it was read
        async with Instance(log, **calm) as one:
            for number in range(5):
                await one.publish(removed(number))
            await one.caught_up()
            log.lose_tail(2)
            for number in range(1, 5):
                log.forge(*frame("stranger", number, removed(f"by another {number}")))
            await eventually(lambda: one.resets)
            assert one.resets == ["the log lost its tail and reused its positions"]

    asyncio.run(scenario())


def test_what_a_record_takes_away_is_let_go_before_it_is_known_to_follow() -> None:
    async def scenario() -> None:
        log, calm = ScriptedLog("foreseen"), {"proof_seconds": 60.0, "heartbeat_seconds": 60.0}
        async with Instance(log, call_timeout_seconds=5.0, **calm) as one:
            await one.publish(removed(1))
            await one.caught_up()
            before, asked, answered = one.stream.reader.applied, asyncio.Event(), asyncio.Event()
            read = log.read

            async def read_late(start: Position, limit: int, wait: float) -> Sequence[Record]:
                if limit == 1:
                    asked.set()
                    await answered.wait()
                return await read(start, limit, wait)

            log.read = read_late  # type: ignore[method-assign]
            position = log.forge(*frame("another", 1, removed("k")))
            await asyncio.wait_for(asked.wait(), 5)
            assert (removed("k"), position) in one.events
            assert one.stream.reader.applied == before
            answered.set()
            await eventually(lambda: one.stream.reader.applied == position)
            assert one.resets == []

    asyncio.run(scenario())


def test_a_writer_whose_acknowledged_record_is_gone_notices_before_it_reads() -> None:
    async def scenario() -> None:
        log = ScriptedLog()
        async with Instance(log, heartbeat_seconds=60) as one:
            log.deaf = True
            await one.publish(removed(1))
            log.lose_tail(1)
            log.forge(*frame("third", 1, removed("other")))
            await eventually(lambda: one.resets)

    asyncio.run(scenario())


def test_a_place_that_was_taken_is_no_receipt_and_begins_a_new_epoch_at_once() -> None:
    async def scenario() -> None:
        log, calm = ScriptedLog("taken"), {"proof_seconds": 60.0, "heartbeat_seconds": 60.0}
        # only the writer can notice so soon: nobody proves anything meanwhile
        async with Instance(log, **calm) as one, Instance(ScriptedLog("taken"), **calm) as two:
            for number in range(5):
                last = await two.publish(removed(number))
            await one.caught_up()
            log.lose_tail(3)
            pending = one.stream.publish(removed("after"))
            await eventually(lambda: pending.position is not None)
            assert pending.position is not None
            assert pending.position.epoch > last.epoch
            await eventually(lambda: one.resets and two.resets)
            await one.publish(removed("later"))
            await eventually(lambda: removed("later") in two.changes())
            assert len(one.resets) == len(two.resets) == 1

    asyncio.run(scenario())


def test_an_echo_that_comes_before_its_acknowledgement_is_no_loss() -> None:
    async def scenario() -> None:
        log = ScriptedLog("echo")
        async with Instance(log) as one:
            log.lose_acknowledgements = 2
            published = one.stream.publish(removed(1))
            await eventually(lambda: removed(1) in one.changes() and not log.lose_acknowledgements)
            await eventually(lambda: published.position is not None)
            assert published.position == one.stream.reader.applied
            assert (one.resets, log._records.epoch) == ([], published.position.epoch)

    asyncio.run(scenario())
