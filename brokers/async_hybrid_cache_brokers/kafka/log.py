"""The log on a Kafka topic: offsets count from the marker that began the epoch."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from uuid import uuid4

from async_hybrid_cache.errors import ConfigurationError, LogUnavailable, PositionLost
from async_hybrid_cache.log import checked_record
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.validation import positive, positive_int

from .access import Access
from .epochs import Entry, View
from .failures import NOT_THERE_YET, mapped
from .link import Link
from .partition import Partition
from .producer import Producer
from .topic import Topic

__all__ = ["KafkaLog"]

_OPEN_SECONDS = 5.0
_PAUSE_SECONDS = 0.02
_BYTES_A_RECORD = 256  # a frame of an event or two, with what Kafka puts around it
_READ_BYTES = 1024 * 1024


class KafkaLog:
    """An `EventLog` on the topic `topic`, which has one partition.

    Created where it is missing, on `replication_factor` brokers (default: three, or as many as there are), and
    kept for `retention_seconds`. Kafka keeps no epochs: markers in the topic begin them, see `View`.
    """

    def __init__(
        self,
        access: Access,
        *,
        topic: str = "ahc.invalidation",
        replication_factor: int | None = None,
        retention_seconds: float = 7 * 86_400,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) or topic in (".", ".."):
            raise ConfigurationError(
                f"{topic!r} cannot be a topic of Kafka: at most 249 letters, digits, '.', '_' and '-'"
            )
        if replication_factor is not None:
            positive_int("replication_factor", replication_factor)
        self._access = access
        self._name = topic
        self._topic = Topic(
            topic,
            replication_factor=replication_factor,
            retention_seconds=positive("retention_seconds", retention_seconds),
        )
        self._partition = Partition(topic)
        self._producer = Producer(topic)
        self._view: View | None = None
        self._opened = 0  # the epoch to append in
        self._seen = 0  # the largest
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = self._appending = asyncio.Lock()
        self._writer: Link | None = None
        self._reader: Link | None = None

    def __repr__(self) -> str:
        return f"KafkaLog({self._name!r})"

    async def open(self) -> None:
        """Connect twice to the partition's leader, since a waiting read would hold up an append."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._writer, self._reader = loop, None, None
            self._opening, self._appending = asyncio.Lock(), asyncio.Lock()
        with mapped(self._name):
            async with self._opening, asyncio.timeout(_OPEN_SECONDS):
                while True:
                    try:
                        await self._begin(await self._connected(), above=0)
                        return
                    except NOT_THERE_YET:
                        self._drop()
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def close(self) -> None:
        """Cut both connections, without waiting for the broker."""
        self._drop()
        self._loop = None
        await asyncio.sleep(0)  # the transports are told in the next turn of the loop

    async def append(self, record: bytes, id: str) -> Position:
        """Append, and look afterwards whether the epoch was still in force: Kafka cannot before."""
        checked_record(record)
        async with self._appending:
            writer = self._open(self._writer)
            opened, view = self._opened, self._known()
            if view.epoch != opened:
                raise PositionLost(f"{self!r} has begun a new epoch; open it again")
            base = view.base
            with mapped(self._name):
                offset, after = await self._producer.send(writer, id, record, view.claim)
                view = self._known()  # a proof that ran at once may have found another
                view.advance([Entry(offset, id, b"")])
                if view.verified < offset:
                    await self._refresh(writer)
            self._producer.settle()
            view = self._known()
            if (view.epoch, view.base) != (opened, base) or offset <= max(after, base):
                raise PositionLost(f"{self!r} has begun a new epoch; open it again")
            return Position(opened, offset - base)

    async def bounds(self) -> Bounds:
        """What was added since the last record that was looked at, with that one as the proof; then the beginning."""
        writer = self._open(self._writer)
        with mapped(self._name):
            view, end = await self._refresh(writer)
            begin = await self._partition.begin(writer)
        if not view.epoch:
            raise PositionLost(f"{self!r} was deleted or emptied; open it again")
        return Bounds(view.epoch, max(1, begin - view.base), end - 1 - view.base)

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        """A fetch at `start`; what comes back is contiguous, or `PositionLost`."""
        reader = self._open(self._reader)
        with mapped(self._name):
            if start.epoch != self._known().epoch:
                await self._refresh(reader)
            view = self._known()
            if start.epoch != view.epoch or start.offset < 1:
                raise PositionLost(f"{self!r} holds no {start}; its epoch is {view.epoch}")
            first = view.base + start.offset
            known = first <= view.verified
            max_bytes = min(_READ_BYTES, limit * _BYTES_A_RECORD)
            entries = await self._partition.fetch(reader, first, max_bytes=max_bytes, wait=wait)
            view.advance(entries)
            if (known and not entries) or any(entry.claim and entry.claim.epoch > start.epoch for entry in entries):
                await self._refresh(reader)  # what was there is not any more
            view = self._known()
        if (view.epoch, view.base) != (start.epoch, first - start.offset):
            raise PositionLost(f"{self!r} has begun a new epoch, {view.epoch}")
        if any(entry.offset != expected for expected, entry in enumerate(entries, first)):
            raise PositionLost(f"records are missing from {self!r} after {start}")
        return [
            Record(Position(start.epoch, offset), entry.id, entry.data)
            for offset, entry in enumerate(entries[:limit], start.offset)
        ]

    async def renew(self, above: int) -> None:
        """Begin a new epoch by a marker, where nobody did so before."""
        writer = self._open(self._writer)
        with mapped(self._name):
            await self._begin(writer, above)

    async def _begin(self, writer: Link, above: int) -> None:
        while True:
            view, _ = await self._refresh(writer)
            if view.epoch > above:
                self._opened = view.epoch
                return
            async with self._appending:
                epoch = max(time.time_ns() // 1000, above + 1, self._seen + 1)
                await self._producer.send(writer, f"epoch:{uuid4().hex}", b"", view.claim, epoch)
                self._producer.settle()

    async def _refresh(self, link: Link) -> tuple[View, int]:
        view = self._view
        found, end = await (self._partition.survey(link) if view is None else self._partition.refresh(link, view))
        if self._view is view:
            self._view = found
            if view is not None and view.epoch and found is not view:
                self._producer.forget()
        self._seen = max(self._seen, found.epoch)
        return found, end

    async def _connected(self) -> Link:
        if not (self._writer and self._writer.alive and self._reader and self._reader.alive):
            self._drop()
            address = await self._topic.leader(self._access)
            self._writer, self._reader = Link(self._access, address), Link(self._access, address)
            await _connect(self._writer, self._reader)
        return self._writer

    def _drop(self) -> None:
        links, self._writer, self._reader = (self._writer, self._reader), None, None
        for link in links:
            if link is not None:
                link.drop()

    def _open(self, link: Link | None) -> Link:
        if link is None:
            raise LogUnavailable(f"{self!r} is not open")
        return link

    def _known(self) -> View:
        if self._view is None:
            raise LogUnavailable(f"{self!r} is not open")
        return self._view


async def _connect(*links: Link) -> None:
    # at once, since to be let in takes up to five round trips
    connecting = [asyncio.ensure_future(link.connect()) for link in links]
    try:
        await asyncio.gather(*connecting)
    finally:
        for each in connecting:
            each.cancel()
        await asyncio.wait(connecting)
