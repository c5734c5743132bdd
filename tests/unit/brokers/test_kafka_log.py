"""The log on a Kafka topic: epochs that markers begin, and what happens to a topic under it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from async_hybrid_cache.errors import LogUnavailable, PositionLost
from async_hybrid_cache.positions import Bounds, Position
from async_hybrid_cache.testing.log_calls import append_many, ids_of, read_all
from async_hybrid_cache_brokers.kafka import KafkaLog
from async_hybrid_cache_brokers.kafka.link import CALL_SECONDS, Link
from tests.servers.server import Server
from tests.unit.brokers.kafka_support import Place, at_place


def test_raced_renews_have_one_winner_for_those_who_race_and_those_who_look_on(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        logs = [await place.opened() for _ in range(6)]
        onlooker = await place.opened()
        above = (await onlooker.bounds()).epoch
        for turn in range(5):

            async def renew(number: int, above: int, turn: int) -> Position:
                await logs[number].renew(above)
                return await logs[number].append(b"data", f"{turn}-{number}")

            positions = await asyncio.gather(*(renew(number, above, turn) for number in range(6)))
            newcomer = await place.opened()
            bounds = await newcomer.bounds()
            assert {position.epoch for position in positions} == {bounds.epoch}
            assert bounds.epoch > above
            assert await onlooker.bounds() == bounds == await logs[0].bounds()
            assert sorted(ids_of(await read_all(onlooker))) == [f"{turn}-{number}" for number in range(6)]
            assert [record.position for record in await read_all(newcomer)] == sorted(positions)
            above = bounds.epoch


def test_an_append_into_an_epoch_unseen_is_told_and_is_a_record_of_that_epoch(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log, late = await place.opened(), await place.opened()
        old = await late.append(b"old", "old")
        await log.renew(old.epoch)
        with pytest.raises(PositionLost):
            await late.append(b"late", "late")
        with pytest.raises(PositionLost):
            await late.append(b"late", "late")
        await late.open()
        position = await late.append(b"late", "late")
        assert position.epoch > old.epoch
        newcomer = await place.opened()
        for reader in (log, late, newcomer):
            assert (await read_all(reader))[-1].position == position
            assert set(ids_of(await read_all(reader))) == {"late"}


def test_a_record_that_turns_out_to_lie_before_the_epoch_is_lost_with_the_one_before(
    kafka: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Link.call

    async def unanswered(self: Link, request: Any, seconds: float = CALL_SECONDS) -> Any:
        await call(self, request, seconds)
        self.drop()
        raise KafkaConnectionError("cut")

    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log, other = await place.opened(), await place.opened()
        old = await log.append(b"old", "old")
        with monkeypatch.context() as cut:
            cut.setattr(Link, "call", unanswered)
            with pytest.raises(LogUnavailable):
                await log.append(b"data", "doubtful")
        await other.renew(old.epoch)
        await log.open()
        with pytest.raises(PositionLost):
            await log.append(b"data", "doubtful")
        await log.open()
        assert await log.append(b"data", "doubtful") == ((await other.bounds()).epoch, 1)
        assert ids_of(await read_all(other)) == ["doubtful"]


def test_a_log_whose_records_have_all_aged_out_goes_on(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log = await place.opened()
        last = (await append_many(log, ["a", "b", "c"]))[-1]
        await place.trim(-1)
        assert await log.bounds() == Bounds(last.epoch, 4, 3)
        assert list(await log.read(last._replace(offset=4), 10, 0)) == []
        with pytest.raises(PositionLost):
            await log.read(last, 10, 0)
        await log.open()
        assert await log.append(b"d", "d") == last._replace(offset=4)
        # the epoch's own marker is gone as well, and claims still tell of it
        newcomer = await place.opened()
        assert await newcomer.bounds() == Bounds(last.epoch, 4, 4) == await log.bounds()


def test_a_newcomer_to_an_emptied_log_begins_an_epoch_and_the_others_hear_of_it(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log = await place.opened()
        last = (await append_many(log, ["a", "b", "c"]))[-1]
        await place.trim(-1)
        newcomer = await place.opened()
        bounds = await newcomer.bounds()
        assert bounds.epoch > last.epoch
        assert (bounds.first, bounds.last) == (1, 0)
        with pytest.raises(PositionLost):
            await log.append(b"late", "late")
        await log.open()
        position = await log.append(b"d", "d")
        assert position.epoch == bounds.epoch
        assert (await read_all(newcomer))[-1].position == position


def test_a_topic_recreated_with_as_many_records_is_noticed_by_the_bounds(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log, other = await place.opened(), await place.opened()
        old = (await append_many(log, ["a", "b", "c"]))[-1]
        await place.delete()
        await other.open()
        await append_many(other, ["d", "e", "f"])
        bounds = await log.bounds()
        assert bounds == await other.bounds()
        assert bounds.epoch > old.epoch
        with pytest.raises(PositionLost):
            await log.append(b"late", "late")
        await log.open()
        assert await log.append(b"g", "g") == Position(bounds.epoch, 4)


def test_writers_that_were_not_told_of_a_new_topic_do_not_found_an_epoch_in_it(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        logs = [await place.opened() for _ in range(3)]
        old = (await append_many(logs[0], [f"id-{n}" for n in range(5)]))[-1]
        for log in logs:
            await log.bounds()
        await place.delete()
        await place.create()
        for number, log in enumerate(logs):
            with pytest.raises(PositionLost):
                await log.append(b"lost", f"lost-{number}")
        newcomer = await place.opened()
        bounds = await newcomer.bounds()
        assert bounds.epoch > old.epoch
        assert (bounds.first, bounds.last) == (1, 0)
        for log in logs:
            assert await log.bounds() == bounds


def test_a_claim_is_not_believed_whose_marker_is_not_there(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        late = await place.opened()
        old = (await append_many(late, ["a", "b"]))[-1]
        await place.delete()
        await place.create()
        async with place.producer() as cron:
            for _ in range(3):
                await cron.send_and_wait(place.topic, b"x", key=b"cron:1:1")
        # just where it expects to be: what it claims could be true
        assert await late.append(b"c", "c") == old._replace(offset=3)
        newcomer = await place.opened()
        bounds = await newcomer.bounds()
        assert bounds.epoch > old.epoch
        assert await late.bounds() == bounds


def test_a_deleted_topic_is_not_created_by_bounds_read_append_or_renew(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log = await place.opened()
        last = await log.append(b"data", "id")
        await place.delete()
        for call in (
            lambda: log.bounds(),
            lambda: log.read(last, 1, 0),
            lambda: log.append(b"data", "id"),
            lambda: log.renew(last.epoch),
        ):
            with pytest.raises(PositionLost):
                await call()
        async with place.admin() as admin:
            assert place.topic not in await admin.list_topics()
        await log.open()
        assert (await log.bounds()).epoch > last.epoch


def test_bounds_and_reads_at_once_with_appends_are_true(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log, other = await place.opened(), await place.opened()
        view = log._view
        start = Position((await log.bounds()).epoch, 1)
        over = False

        async def tail() -> list[str]:
            seen: list[str] = []
            while len(seen) < 200:
                seen += ids_of(await log.read(start._replace(offset=1 + len(seen)), 50, 5))
            return seen

        async def ask() -> None:
            last = 0
            while not over:
                bounds = await log.bounds()
                assert bounds.epoch == start.epoch
                assert bounds.last >= last
                last = bounds.last

        tailing, asking = asyncio.create_task(tail()), asyncio.create_task(ask())
        mine, theirs = [f"mine-{n}" for n in range(100)], [f"theirs-{n}" for n in range(100)]
        await asyncio.gather(append_many(log, mine), append_many(other, theirs))
        seen = await tailing
        over = True
        await asking
        assert [id for id in seen if id in set(mine)] == mine
        assert [id for id in seen if id in set(theirs)] == theirs
        assert log._view is view, "the log was looked at from the beginning again"


def test_both_connections_are_made_at_once(kafka: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        await place.opened()
        both, connect, asked = asyncio.Barrier(2), Link.connect, False

        async def together(self: Link) -> None:
            nonlocal asked
            if asked:
                await both.wait()
            asked = True  # the first one asks who leads the partition
            await connect(self)

        monkeypatch.setattr(Link, "connect", together)
        await place.opened()


def test_a_closed_log_says_so_and_opens_in_another_loop(kafka: Server) -> None:
    kept: list[KafkaLog] = []
    found: list[Position] = []

    async def use(log: KafkaLog, id: str) -> None:
        with pytest.raises(LogUnavailable, match="not open"):
            await log.append(b"data", id)
        await asyncio.gather(log.open(), log.open())
        found.append(await log.append(b"data", id))
        await log.close()
        await log.close()

    @at_place(kafka.url)
    async def _(place: Place) -> None:
        kept.append(place.log())
        await use(kept[0], "first")

    asyncio.run(use(kept[0], "second"))
    assert found[1] == found[0]._replace(offset=2)
