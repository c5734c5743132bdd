"""The log on a JetStream stream: a marker that begins the epoch, and behind it the records."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Unpack

from async_hybrid_cache.errors import LogRefused, LogUnavailable
from async_hybrid_cache.log import checked_record
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.validation import positive_int

from .address import Access, Address
from .client import Connection
from .failures import log_failures
from .layout import MESSAGE_BYTES, Layout, Marker
from .stream import Stream
from .tail import Tail

__all__ = ["NatsLog"]

_OLDEST_SERVER = (2, 12)  # 2.11.0 compares as we need, and loses the stream with a kill -9
_LOOK_SECONDS = 1.0
_LATE_SECONDS = 1.0


class NatsLog:
    """An `EventLog` on the JetStream stream `stream` of a NATS system, server 2.12 or newer.

    One connection of its own. The stream is created where it does not exist, with `replicas`, to keep the newest
    `retention_records`; one that exists keeps its settings, as long as the log can be in it. Further keywords are
    those of `Access`.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        stream: str = "ahc-invalidation",
        replicas: int = 1,
        retention_records: int = 100_000,
        **access: Unpack[Access],
    ) -> None:
        self._address = Address(servers, **access)
        self._layout = Layout(stream)
        self._replicas = positive_int("replicas", replicas)
        self._retention = positive_int("retention_records", retention_records)
        self._marker = Marker(0, 0)  # of the epoch that this object opened, and appends to
        self._seen = 0  # the largest epoch
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._stream: Stream | None = None
        self._tail: Tail | None = None

    def __repr__(self) -> str:
        return f"NatsLog({self._layout.name!r})"

    async def open(self) -> None:
        """Connect; create the stream and begin an epoch where there is none."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._opening, self._stream, self._tail = loop, asyncio.Lock(), None, None
        async with self._opening:
            try:
                with log_failures(self._layout.name):
                    stream = await self._connected()
                    await stream.ensure(self._retention, self._replicas)
                    await self._begin(stream, above=-1)
            except BaseException:
                await self._disconnect()  # what was given up may be a connection that stalls
                raise

    async def close(self) -> None:
        """Drop the connection, without waiting for the server."""
        loop, self._loop = self._loop, None
        if loop is asyncio.get_running_loop():
            await self._disconnect()
        self._stream = self._tail = None

    async def append(self, record: bytes, id: str) -> Position:
        """Publish, on condition that the epoch is still the one that `open` found."""
        stream, marker = self._open(), self._marker
        with log_failures(self._layout.name):
            return Position(marker.epoch, await stream.publish(marker, checked_record(record), id))

    async def bounds(self) -> Bounds:
        """From the marker and the stream's state, both asked of the stream's leader."""
        stream = self._open()
        with log_failures(self._layout.name):
            _, bounds = await stream.survey()
        self._seen = max(self._seen, bounds.epoch)
        return bounds

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        """From a consumer that is kept while reads follow one another; a single record elsewhere is fetched.

        A consumer that fell silent looks like one that has nothing to say, so the stream is looked at as well.
        """
        stream, loop = self._open(), asyncio.get_running_loop()
        deadline, begun = loop.time() + wait, 0
        with log_failures(self._layout.name):
            while True:
                tail = self._tail
                if tail is None or tail.ended or tail.next != start:
                    if limit == 1 and (record := await stream.fetch(start)):
                        return [record]
                    begun += 1
                    if begun > 2:
                        raise LogUnavailable(f"{self!r} gives no records: {tail and tail.ended}")
                    tail = await self._follow(stream, start)
                late = start.offset <= tail.head
                left = max(deadline - loop.time(), 0)
                if records := await tail.take(limit, _LATE_SECONDS if late else min(left, _LOOK_SECONDS)):
                    return records
                tail.head = (await stream.held(start))[1].last
                if late and not tail.ended:
                    tail.ended = "no answer in time"
                elif start.offset > tail.head and loop.time() >= deadline:
                    return []

    async def renew(self, above: int) -> None:
        """Publish a new marker, where the newest is not above `above`, and purge up to it."""
        stream = self._open()
        with log_failures(self._layout.name):
            await stream.ensure(self._retention, self._replicas)
            await self._begin(stream, above)

    async def _begin(self, stream: Stream, above: int) -> None:
        self._marker = await stream.begin(above, self._seen)
        self._seen = max(self._seen, self._marker.epoch)

    async def _follow(self, stream: Stream, start: Position) -> Tail:
        marker, bounds = await stream.held(start)
        if self._tail is not None:
            await self._tail.end()
        self._tail = tail = Tail(stream, marker, start, bounds.last)
        await tail.begin()
        return tail

    async def _connected(self) -> Stream:
        if self._stream is not None and self._stream.connection.alive:
            if self._tail is not None:
                await self._tail.end()
            return self._stream
        await self._disconnect()
        connection = Connection(self._address)
        self._stream = Stream(connection, self._layout)
        await connection.connect()
        if connection.server_version < _OLDEST_SERVER:
            raise LogRefused("this NATS server is too old for the log; it must be 2.12 or newer")
        if connection.max_payload < MESSAGE_BYTES:
            raise LogRefused(f"this NATS server is too narrow for the log; set its max_payload to {MESSAGE_BYTES}")
        return self._stream

    async def _disconnect(self) -> None:
        stream, self._stream, self._tail = self._stream, None, None
        if stream is not None:
            await stream.connection.drop()

    def _open(self) -> Stream:
        if self._stream is None:
            raise LogUnavailable(f"{self!r} is not open")
        return self._stream
