"""The topic: what it is created with, what is refused, and who else may write to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from async_hybrid_cache.errors import LogRefused, LogUnavailable
from async_hybrid_cache.positions import Record
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.kafka import BROKER
from tests.servers.certificates import Certificates
from tests.servers.kafka import KafkaServer
from tests.servers.ports import free_port
from tests.servers.server import Server
from tests.unit.brokers.kafka_support import Place, at_place


@promise(8, fault="very many events")
def test_a_topic_is_created_with_what_the_log_needs(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        await place.opened("?retention_seconds=3600&replication_factor=1")
        async with place.admin() as admin:
            (topic,) = await admin.describe_topics([place.topic])
            replies: list[Any] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, place.topic)])
        assert [(one["partition"], len(one["replicas"])) for one in topic["partitions"]] == [(0, 1)]
        found = {entry[0]: entry[1] for entry in replies[0].resources[0][4]}
        expected = {
            "cleanup.policy": "delete",
            "retention.ms": "3600000",
            "retention.bytes": "-1",
            "max.message.bytes": "1048588",
            "unclean.leader.election.enable": "false",
            "message.timestamp.type": "LogAppendTime",
            "compression.type": "uncompressed",
        }
        assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("partitions", "settings", "fix"),
    [
        (2, {}, "partitions"),
        (1, {"cleanup_policy": "compact"}, "cleanup.policy"),
        (1, {"cleanup_policy": "compact,delete"}, "cleanup.policy"),
        (1, {"max_message_bytes": "1000"}, "max.message.bytes"),
    ],
)
def test_a_topic_that_would_break_the_log_is_refused_with_the_fix(
    kafka: Server, partitions: int, settings: dict[str, str], fix: str
) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        await place.create(partitions, **settings)
        log = place.log()
        for _ in range(2):
            with pytest.raises(LogRefused, match=fix) as caught:
                await log.open()
            assert place.topic in str(caught.value)
        with pytest.raises(LogUnavailable, match="not open"):
            await log.append(b"data", "id")


def test_a_topic_that_somebody_else_created_is_used(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        await place.create()
        log = await place.opened()
        assert (await log.append(b"data", "id")).offset == 1


def test_more_replicas_than_brokers_are_refused(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        with pytest.raises(LogRefused, match="replication factor"):
            await place.log("?replication_factor=3").open()


def test_records_of_other_programs_keep_their_places(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log, other = await place.opened(), await place.opened()
        first = await log.append(b"a", "a")
        async with place.producer(compression_type="gzip", linger_ms=50) as cron:
            sent = [await cron.send(place.topic, b"cron", key=b"cron:1:1"), await cron.send(place.topic, None, key=b"")]
            await asyncio.gather(*sent)
            await cron.send_and_wait(
                place.topic, b"odd", key=b"\xff", headers=[("ahc", b"no claim"), ("ahc-epoch", b"9")]
            )
        async with place.producer(transactional_id=place.namespace) as unit, unit.transaction():
            await unit.send_and_wait(place.topic, b"in a transaction", key=b"unit:1:1")

        async def ended() -> bool:
            return (await log.bounds()).last == 6

        await eventually(ended, message="the transaction left no mark")
        last = await log.append(b"z", "z")
        expected = [
            ("a", b"a"),
            ("cron:1:1", b"cron"),
            ("", b""),
            ("\ufffd", b"odd"),
            ("unit:1:1", b"in a transaction"),
            (f"control:{last.offset - 1}", b""),
            ("z", b"z"),
        ]
        assert [record[1:] for record in await other.read(first, 10, 0)] == expected
        assert last == first._replace(offset=len(expected))
        assert await other.bounds() == await log.bounds()
        assert await other.append(b"", "next") == last._replace(offset=last.offset + 1)
        # a place in the middle of somebody's batch
        assert [record.id for record in await other.read(first._replace(offset=3), 1, 0)] == [""]


def test_a_newcomer_finds_the_epoch_behind_many_foreign_records(kafka: Server) -> None:
    @at_place(kafka.url)
    async def _(place: Place) -> None:
        log = await place.opened()
        first = await log.append(b"a", "a")
        async with place.producer() as cron:
            await asyncio.gather(*[await cron.send(place.topic, b"x", key=b"cron:1:1") for _ in range(700)])
        newcomer = await place.opened()
        bounds = await newcomer.bounds()
        assert bounds == (first.epoch, 1, 701)
        assert await newcomer.append(b"b", "b") == first._replace(offset=702)
        assert await log.append(b"c", "c") == first._replace(offset=703)


def test_tls_is_used_and_verified(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "certificates")
    server = KafkaServer(tmp_path / "kafka", tls=made)
    server.open()
    try:

        @at_place(server.url)
        async def _(place: Place) -> None:
            trusted = f"?ssl_ca_certs={made.authority}"
            log = await place.opened(trusted)
            position = await log.append(b"data", "id")
            assert list(await log.read(position, 1, 0)) == [Record(position, "id", b"data")]
            with pytest.raises(LogRefused, match="CERTIFICATE_VERIFY_FAILED"):
                await place.log().open()
            plain = BROKER.bus(server.url.replace("kafkas", "kafka"), namespace=place.namespace, stream=None).new_log()
            with pytest.raises((LogUnavailable, TimeoutError)):
                async with asyncio.timeout(2):
                    await plain.open()
            await plain.close()
    finally:
        server.close()


def test_a_server_that_is_not_there_does_not_stand_in_the_way_of_one_that_is(kafka: Server) -> None:
    nobody = f"127.0.0.1:{free_port()}"

    @at_place(kafka.url.replace("kafka://", f"kafka://{nobody},{nobody},{nobody},"))
    async def _(place: Place) -> None:
        place._servers = kafka.url.partition("://")[2]
        assert (await (await place.opened()).append(b"data", "id")).offset == 1

    @at_place(f"kafka://{nobody}")
    async def _(place: Place) -> None:
        with pytest.raises(LogUnavailable):
            await place.log().open()
