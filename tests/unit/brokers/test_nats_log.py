"""The log on a JetStream stream: its marker, its settings, its consumer, and what others do to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import APIError

from async_hybrid_cache.errors import LogRefused, LogUnavailable, PositionLost
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.nats import NatsLog
from async_hybrid_cache_brokers.nats.address import Address
from async_hybrid_cache_brokers.nats.client import Connection
from async_hybrid_cache_brokers.nats.layout import message_id, record_id
from tests.servers.nats import NatsServer
from tests.servers.server import LocalServer, Server

Body = Callable[[NatsLog, Connection, str], Awaitable[None]]


def run(server: Server, **options: Any) -> Callable[[Body], None]:
    """Run a body with an open log, a plain connection and the name of the stream."""

    def on_log(body: Body) -> None:
        async def main() -> None:
            name = f"test-{uuid4()}"
            connection = Connection(Address(server.url))
            await connection.connect()
            log = NatsLog(server.url, stream=name, **options)
            try:
                async with asyncio.timeout(30):
                    await log.open()
                    await body(log, connection, name)
            finally:
                await log.close()
                await connection.drop()

        asyncio.run(main())

    return on_log


async def state_of(connection: Connection, name: str) -> dict[str, Any]:
    return dict((await connection.api(f"STREAM.INFO.{name}"))["state"])


async def consumers(connection: Connection, name: str) -> list[str]:
    return list((await connection.api(f"CONSUMER.NAMES.{name}"))["consumers"] or [])


def test_ids_come_back_from_message_ids() -> None:
    for id in ("origin:1:2", "ä 🔑\r\n", "100%", ""):
        written = message_id(17, id)
        assert written.isascii()
        assert "\n" not in written
        assert record_id(written) == id
    assert record_id("cron-1") == "cron-1"
    assert record_id("cron:1:1") == "cron:1:1"
    assert record_id("") == ""


@promise(8, fault="very many events")
def test_the_marker_outlives_what_retention_trims(nats: Server) -> None:
    @run(nats, retention_records=5)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        for number in range(12):
            head = await log.append(b"data", f"id-{number}")
        assert await log.bounds() == Bounds(head.epoch, 8, 12)
        assert (await state_of(connection, name))["messages"] == 6
        with pytest.raises(PositionLost):
            await log.read(head._replace(offset=7), 10, 0)
        assert len(await log.read(head._replace(offset=8), 10, 0)) == 5
        with pytest.raises(PositionLost):
            await log.read(head._replace(offset=7), 1, 0)


def test_an_epoch_whose_beginner_died_before_it_purged_is_finished_by_others(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        old = await log.append(b"data", "old")
        answer = await connection.call(f"{name}.epoch", str(old.epoch + 7).encode())
        with pytest.raises(PositionLost):
            await log.append(b"data", "too late")
        assert await log.bounds() == Bounds(old.epoch + 7, 1, 0)
        assert (await state_of(connection, name))["first_seq"] == answer["seq"]
        await log.open()
        assert await log.append(b"data", "new") == Position(old.epoch + 7, 1)


def test_a_stream_without_an_epoch_is_lost_until_it_is_opened(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        old = await log.append(b"data", "old")
        await connection.api(f"STREAM.PURGE.{name}")
        for call in (log.bounds(), log.read(old, 1, 0), log.read(old, 10, 0), log.append(b"data", "new")):
            with pytest.raises(PositionLost):
                await call
        await log.open()
        assert (await log.append(b"data", "new")) > old


def test_a_stream_made_by_hand_begins_at_one_and_works(nats: Server) -> None:
    async def main() -> None:
        name = f"test-{uuid4()}"
        connection = Connection(Address(nats.url))
        await connection.connect()
        settings = {"name": name, "subjects": [f"{name}.events", f"{name}.epoch"], "storage": "file"}
        await connection.api(f"STREAM.CREATE.{name}", {**settings, "duplicate_window": 120_000_000_000})
        log = NatsLog(nats.url, stream=name)
        await log.open()
        position = await log.append(b"data", "id")
        assert position.offset == 1
        await log.open()
        assert list(await log.read(position, 10, 0)) == [Record(position, "id", b"data")]
        await log.close()
        await connection.drop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"subjects": ["{}.>"]}, "subjects"),
        ({"storage": "memory"}, "storage must be file"),
        ({"retention": "interest"}, "retention must be limits"),
        ({"max_age": 3_600_000_000_000}, "max_age"),
        ({"max_bytes": 1_000_000}, "max_bytes"),
        ({"max_msgs": 1000}, "max_msgs"),
        ({"no_ack": True}, "no_ack"),
        ({"deny_purge": True}, "deny_purge"),
        ({"duplicate_window": 1_000_000_000}, "duplicate_window"),
        ({"max_msg_size": 1_000_000}, "max_msg_size"),
    ],
)
def test_a_stream_that_would_break_a_promise_is_refused(nats: Server, change: dict[str, Any], part: str) -> None:
    async def main() -> None:
        name = f"test-{uuid4()}"
        connection = Connection(Address(nats.url))
        await connection.connect()
        settings = {
            "name": name,
            "subjects": [f"{name}.events", f"{name}.epoch"],
            "storage": "file",
            "duplicate_window": 120_000_000_000,
            **json.loads(json.dumps(change).replace("{}", name)),
        }
        await connection.api(f"STREAM.CREATE.{name}", settings)
        log = NatsLog(nats.url, stream=name)
        with pytest.raises(LogRefused, match=part) as caught:
            await log.open()
        assert name in str(caught.value)
        assert (await state_of(connection, name))["messages"] == 0
        await log.close()
        await connection.drop()

    asyncio.run(main())


def test_more_replicas_than_servers_are_refused(nats: Server) -> None:
    async def main() -> None:
        log = NatsLog(nats.url, stream=f"test-{uuid4()}", replicas=3)
        with pytest.raises(LogRefused, match="replicas"):
            await log.open()
        await log.close()

    asyncio.run(main())


def test_a_server_that_is_too_old_is_refused(nats: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "server_version", (2, 11))

    async def main() -> None:
        log = NatsLog(nats.url, stream=f"test-{uuid4()}")
        with pytest.raises(LogRefused, match=r"2\.12"):
            await log.open()
        await log.close()

    asyncio.run(main())


class NarrowNats(NatsServer):
    """A server that takes smaller messages than by default."""

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "max_payload": 1_000_000}


def test_a_server_that_takes_no_record_of_full_size_is_refused_before_one_is_stuck(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        log = NatsLog(url)
        with pytest.raises(LogRefused, match="max_payload to 1048576"):
            await log.open()
        await log.close()

    with closing(NarrowNats(tmp_path)) as server:
        server.open()
        asyncio.run(main(server.url))


def test_a_record_of_another_program_keeps_its_place(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        first = await log.append(b"a", "1")
        await connection.call(f"{name}.events", b"cron")
        await connection.call(f"{name}.events", b"\xff", {"nats-msg-id": "cron-1", "Other": "x"})
        expected = [(1, "1", b"a"), (2, "", b"cron"), (3, "cron-1", b"\xff")]
        found = await log.read(first, 10, 0)
        assert [(r.position.offset, r.id, r.data) for r in found[:2]] == expected[:2]
        single = [(await log.read(first._replace(offset=n), 1, 0))[0] for n in (1, 2, 3)]
        assert [(r.position.offset, r.id, r.data) for r in single] == expected


def test_a_deleted_consumer_is_made_again_and_nothing_is_skipped(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        first = await log.append(b"data", "1")
        assert len(await log.read(first, 10, 0)) == 1
        for number in (2, 3, 4):
            reading = asyncio.create_task(log.read(first._replace(offset=number), 10, 10))
            (consumer,) = await eventually(lambda: consumers(connection, name))
            await connection.api(f"CONSUMER.DELETE.{name}.{consumer}")
            await eventually(lambda gone=consumer: new_consumer(connection, name, gone))
            assert not reading.done()
            await log.append(b"data", str(number))
            assert [r.id for r in await reading] == [str(number)]


async def new_consumer(connection: Connection, name: str, gone: str) -> bool:
    return bool(set(await consumers(connection, name)) - {gone})


def test_a_consumer_that_fell_silent_is_noticed(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        first = await log.append(b"data", "1")
        assert len(await log.read(first, 10, 0)) == 1
        tail = log._tail
        assert log._stream is not None
        assert tail is not None
        assert tail._subscription is not None
        # as if the node that it was on had died
        await log._stream.connection._client._send_unsubscribe(tail._subscription._id)
        await log.append(b"data", "2")
        assert [r.id for r in await log.read(first._replace(offset=2), 10, 0)] == ["2"]


def test_reads_that_follow_one_another_share_a_consumer_and_single_ones_need_none(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        for number in range(1, 6):
            head = await log.append(b"data", str(number))
        assert [r.id for r in await log.read(head, 1, 0)] == ["5"]
        assert await consumers(connection, name) == []
        assert [r.id for r in await log.read(head._replace(offset=1), 2, 0)] == ["1", "2"]
        (consumer,) = await consumers(connection, name)
        assert [r.id for r in await log.read(head._replace(offset=2), 1, 0)] == ["2"]
        assert [r.id for r in await log.read(head._replace(offset=3), 10, 0)] == ["3", "4", "5"]
        assert await consumers(connection, name) == [consumer]
        assert [r.id for r in await log.read(head._replace(offset=2), 2, 0)] == ["2", "3"]

        async def replaced() -> bool:
            return len(left := await consumers(connection, name)) == 1 and left != [consumer]

        await eventually(replaced, message="the old consumer is still there")


def test_where_the_server_does_not_compare_the_marker_is_looked_at_afterwards(
    nats: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Connection.call

    async def busy(self: Connection, subject: str, data: bytes = b"", headers: Any = None, seconds: float = 5) -> Any:
        if subject.endswith(".events") and "Nats-Expected-Last-Subject-Sequence" in headers:
            raise APIError(400, "wrong last sequence", 10164)  # what a busy leader of a cluster says
        return await call(self, subject, data, headers, seconds)

    monkeypatch.setattr(Connection, "call", busy)

    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        first = await log.append(b"data", "1")
        assert first.offset == 1
        other = NatsLog(nats.url, stream=name)
        await other.open()
        await other.renew(first.epoch)
        with pytest.raises(PositionLost):
            await log.append(b"data", "unseen")
        await log.open()
        assert (await log.append(b"data", "2")).epoch > first.epoch
        await other.close()


def test_an_epoch_that_is_no_number_is_refused(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        await connection.call(f"{name}.epoch", b"something else")
        with pytest.raises(LogRefused, match=name):
            await log.bounds()


def test_a_lost_connection_fails_what_waits_at_once_and_repeats_find_what_landed(own_nats: LocalServer) -> None:
    @run(own_nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        loop = asyncio.get_running_loop()
        head = await log.append(b"data", "1")
        reading = asyncio.create_task(log.read(head._replace(offset=2), 10, 30))
        await asyncio.to_thread(own_nats.stop)
        appending = asyncio.create_task(log.append(b"data", "2"))
        await asyncio.sleep(0)
        began = loop.time()
        await asyncio.to_thread(own_nats.kill)
        for call in (reading, appending, log.bounds(), log.read(head, 1, 0)):
            with pytest.raises(LogUnavailable):
                await call
        assert loop.time() - began < 2
        await asyncio.to_thread(own_nats.start)
        await log.open()
        second = await log.append(b"data", "2")
        assert await log.append(b"data", "2") == second
        assert [r.id for r in await log.read(head, 10, 0)] == ["1", "2"]


def test_one_server_of_the_list_is_enough(own_nats: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.sample", lambda servers, count: list(servers))  # the one that works comes last

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # accepts, and says nothing
        writer.close()

    async def main() -> None:
        frozen = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = frozen.sockets[0].getsockname()[1]
        url = f"nats://127.0.0.1:1,127.0.0.1:{port},{own_nats.url.removeprefix('nats://')}"
        log = NatsLog(url, stream="test")
        async with asyncio.timeout(1):  # as long as the stream gives it
            await log.open()
        await log.close()
        frozen.close()

    asyncio.run(main())


def test_a_server_that_is_slow_is_not_given_up_for_the_next_one(nats: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.sample", lambda servers, count: list(servers))

    async def main() -> None:
        next_asked = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listener.close()  # one connection, and no second try
            await next_asked.wait()
            server_reader, server_writer = await asyncio.open_connection(*nats.url.removeprefix("nats://").split(":"))
            await asyncio.wait(
                [asyncio.create_task(pump(reader, server_writer)), asyncio.create_task(pump(server_reader, writer))]
            )

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            next_asked.set()
            await reader.read()
            gone.set()
            writer.close()

        gone = asyncio.Event()
        listener = await asyncio.start_server(slow, "127.0.0.1", 0)
        silent = await asyncio.start_server(frozen, "127.0.0.1", 0)
        ports = [server.sockets[0].getsockname()[1] for server in (listener, silent)]
        log = NatsLog(",".join(f"nats://127.0.0.1:{port}" for port in ports), stream=f"test-{uuid4()}")
        await log.open()
        async with asyncio.timeout(5):
            await gone.wait()  # nothing is left of the connection that came second
        assert (await log.append(b"data", "id")).offset == 1
        await log.close()
        silent.close()

    asyncio.run(main())


def test_a_subject_nobody_listens_to_is_no_answer(nats: Server) -> None:
    @run(nats)
    async def _(log: NatsLog, connection: Connection, name: str) -> None:
        with pytest.raises(NoRespondersError):
            await connection.request(f"{name}.nobody")
        assert connection.alive
