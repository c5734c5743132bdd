"""Where a log and an L2 live, and what can happen to them there."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import nats
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import UnknownTopicOrPartitionError
from nats.js import JetStreamContext
from redis.asyncio import Redis

from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.frames import OpenedFrame, open_frame
from benchmarks.outage.breakable import Breakable
from tests.servers.server import LocalServer

__all__ = ["KafkaPlace", "Mortal", "NatsPlace", "Place", "RedisPlace", "Served", "SqlitePlace", "read_frames"]


class Place(Protocol):
    """One log and one L2, and the faults that every broker has."""

    url: str
    namespace: str

    async def trim(self) -> None:
        """Throw away all records but the last."""

    async def delete(self) -> None:
        """Delete the log."""

    async def append_foreign(self) -> None:
        """Let another program append what is no frame."""


class RedisPlace:
    """Under `namespace` on a Redis-protocol server."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self.stream = f"{namespace}:invalidation"

    async def trim(self) -> None:
        """`XTRIM MAXLEN = 1`."""
        async with Redis.from_url(self.url) as redis:
            await redis.xtrim(self.stream, maxlen=1, approximate=False)

    async def delete(self) -> None:
        """`DEL`."""
        async with Redis.from_url(self.url) as redis:
            assert await redis.delete(self.stream) == 1

    async def append_foreign(self) -> None:
        """`XADD` by hand, under the next id."""
        async with Redis.from_url(self.url) as redis:
            last = (await redis.xinfo_stream(self.stream))["last-generated-id"]
            epoch, offset = Position.parse(last.decode())
            await redis.xadd(self.stream, {"hello": "world"}, id=str(Position(epoch, offset + 1)))


class SqlitePlace:
    """In one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.namespace = "ahc"

    async def trim(self) -> None:
        """Delete the rows."""
        self._execute("DELETE FROM ahc_log WHERE offset < (SELECT last FROM ahc_meta)")

    async def delete(self) -> None:
        """Delete the file, under the processes that have it open."""
        for path in self._files():
            path.unlink(missing_ok=True)

    async def append_foreign(self) -> None:
        """A row by hand."""
        self._execute(
            "UPDATE ahc_meta SET last = last + 1",
            "INSERT INTO ahc_log SELECT last, 'hello', x'c1', 0 FROM ahc_meta",
        )

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the file as it is now."""
        with closing(sqlite3.connect(self.path)) as db, closing(sqlite3.connect(path)) as copy:
            db.backup(copy)

    def replace_by(self, path: Path) -> None:
        """Put another file in the place of this one."""
        for old in self._files()[1:]:
            old.unlink(missing_ok=True)
        fresh = self.path.with_suffix(".fresh")
        shutil.copy(path, fresh)
        fresh.replace(self.path)

    def _files(self) -> list[Path]:
        return [Path(f"{self.path}{suffix}") for suffix in ("", "-wal", "-shm")]

    def _execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path, timeout=5)) as db, db:
            for statement in statements:
                db.execute(statement)


class NatsPlace:
    """Under `namespace` on a NATS server."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self.stream = f"{namespace}-invalidation"

    async def trim(self) -> None:
        """Purge all events but the last."""
        await self.purge(self.stream, subject=f"{self.stream}.events", keep=1)

    async def delete(self) -> None:
        """Delete the stream."""
        async with self._jetstream() as jetstream:
            assert await jetstream.delete_stream(self.stream)

    async def purge(self, stream: str, **what: Any) -> None:
        """Purge any stream, a bucket's for example."""
        async with self._jetstream() as jetstream:
            await jetstream.purge_stream(stream, **what)

    async def append_foreign(self) -> None:
        """A message without our headers."""
        async with self._jetstream() as jetstream:
            await jetstream.publish(f"{self.stream}.events", b"\xc1")

    @asynccontextmanager
    async def _jetstream(self) -> AsyncIterator[JetStreamContext]:
        connection = await nats.connect(self.url)
        try:
            yield connection.jetstream()
        finally:
            await connection.close()


class KafkaPlace:
    """Under `namespace` on a Kafka broker, which has no L2."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self.topic = f"{namespace}.invalidation"
        self._servers = urlsplit(url).netloc

    async def trim(self) -> None:
        """Delete all records but the last."""
        partition = TopicPartition(self.topic, 0)
        async with self._running(AIOKafkaConsumer) as consumer:
            end = (await consumer.end_offsets([partition]))[partition]
        async with self._running(AIOKafkaAdminClient) as admin:
            await admin.delete_records({partition: RecordsToDelete(before_offset=end - 1)})

    async def delete(self) -> None:
        """Delete the topic, and wait until it is gone."""
        async with self._running(AIOKafkaAdminClient) as admin:
            await admin.delete_topics([self.topic])

            async def gone() -> bool:
                (topic,) = await admin.describe_topics([self.topic])
                return bool(topic["error_code"] == UnknownTopicOrPartitionError.errno)

            await eventually(gone)

    async def append_foreign(self) -> None:
        """A record without our headers."""
        async with self._running(AIOKafkaProducer) as producer:
            await producer.send_and_wait(self.topic, b"\xc1", partition=0)

    @asynccontextmanager
    async def _running(self, kind: Any) -> AsyncIterator[Any]:
        client = kind(bootstrap_servers=self._servers)
        try:
            await client.start()
            yield client
        finally:
            await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())


@dataclass(frozen=True)
class Served:
    """A place on a server that belongs to one test alone."""

    name: str
    server: LocalServer
    place: Place


@dataclass(frozen=True)
class Mortal:
    """A place whose broker can be taken away: its server is killed, or its file locked."""

    name: str
    place: Place
    broker: Breakable

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """It is away inside the block, and answers after it."""
        await asyncio.to_thread(self.broker.kill)
        try:
            yield
        finally:
            await asyncio.to_thread(self.broker.start)


async def read_frames(place: Place) -> list[tuple[Position, OpenedFrame]]:
    """All frames that the log holds, whose records are dense; notes that a log makes for itself left out."""
    log: EventLog = find_broker(place.url).bus(place.url, namespace=place.namespace, stream=None).new_log()
    await log.open()
    try:
        epoch, first, last = await log.bounds()
        records: list[Record] = []
        while first + len(records) <= last:
            records += await log.read(Position(epoch, first + len(records)), 1000, 0)
    finally:
        await log.close()
    assert [record.position for record in records] == [Position(epoch, n) for n in range(first, last + 1)]
    return [(record.position, open_frame(record.data)) for record in records if record.data]
