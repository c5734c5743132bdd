"""The log on a Redis stream, whose entry ids are the positions: `<epoch>-<offset>`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    DataError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from async_hybrid_cache.errors import LogRefused, LogUnavailable, PositionLost
from async_hybrid_cache.log import checked_record
from async_hybrid_cache.positions import ORIGIN, Bounds, Position, Record
from async_hybrid_cache.validation import positive_int

from .client import CALL_SECONDS, Link, Script, checked
from .layout import utf8

__all__ = ["RedisStreamsLog"]

_BEGIN = Script("stream", "begin")
_APPEND = Script("stream", "append", "alone")
_BOUNDS = Script("stream", "bounds")

_DOUBTS = 1_000

_REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError, DataError)
# what redis-py has no class for; a server before 7 does not know the id `<epoch>-*`
_REFUSAL_TEXTS = ("ACL failure", "WRONGTYPE", "unknown command", "Invalid stream ID", "DB index is out of range")


class RedisStreamsLog:
    """An `EventLog` on the stream `stream` of a Redis 7 or Valkey server.

    Connections are made as `redis` makes its own, which is never used itself nor closed. About
    `retention_records` records are kept, trimmed as new ones are appended.
    """

    def __init__(self, redis: Redis, *, stream: str = "ahc:invalidation", retention_records: int = 100_000) -> None:
        self.redis = checked(redis)
        self._stream = stream
        self._key = utf8(stream)
        self._retention = positive_int("retention_records", retention_records)
        self._head = ORIGIN  # the newest that this object knows of, in the epoch that it opened
        self._seen = 0  # the largest epoch
        self._doubts: dict[str, Position] = {}  # by id: the head known before an attempt of unknown fate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._writer: Link | None = None
        self._reader: Link | None = None

    def __repr__(self) -> str:
        return f"RedisStreamsLog({self._stream!r})"

    async def open(self) -> None:
        """Connect twice, since a waiting read would hold up an append; create the stream where it is not."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._opening, self._writer, self._reader = loop, asyncio.Lock(), None, None
        async with self._opening:
            self._writer = await self._connected(self._writer)
            self._reader = await self._connected(self._reader)
            await self._begin(above=-1)

    async def close(self) -> None:
        """Drop both connections, without waiting for the server."""
        links, self._writer, self._reader, self._loop = (self._writer, self._reader), None, None, None
        for link in links:
            if link is not None:
                await link.drop()
        await asyncio.sleep(0)  # the transports are told in the next turn of the loop

    async def append(self, record: bytes, id: str) -> Position:
        """Append in one script, which looks for an earlier attempt only where the fate of one is unknown."""
        return await self.append_with(_APPEND, record, id)

    async def append_with(
        self, script: Script, record: bytes, id: str, keys: Sequence[bytes] = (), args: Sequence[bytes | int] = ()
    ) -> Position:
        """`append` by a script that takes more keys and arguments behind those of `append.lua`."""
        checked_record(record)
        writer, head, doubt = self._open(self._writer), self._head, self._doubts.get(id)
        after = doubt.offset if doubt is not None and doubt.epoch == head.epoch else None
        if after is None:
            self._doubt(id, head)
        given = [head.epoch, utf8(id), record, self._retention, "" if after is None else after]
        with self._mapped():
            try:
                reply = await writer.run(script, [self._key, *keys], [*given, *args])
            except ResponseError:
                if after is None:  # refused before anything was written
                    self._doubts.pop(id, None)
                raise
        if reply is None:
            raise PositionLost(f"epoch {head.epoch} of {self!r} is gone")
        self._doubts.pop(id, None)
        position = _position(reply)
        self._advance(position)
        return position

    async def bounds(self) -> Bounds:
        """Asked in one script, which leaves the records themselves on the server."""
        return await self._bounds(self._open(self._writer))

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        """`XREAD` skips what was trimmed without a word, so what comes back is checked against `start`."""
        reader = self._open(self._reader)
        reply = await self._xread(reader, start, limit, wait)
        if not reply:
            bounds = await self._bounds(reader)
            if start == Position(bounds.epoch, bounds.last + 1):
                return []
            if start.epoch == bounds.epoch and bounds.first <= start.offset <= bounds.last:
                reply = await self._xread(reader, start, limit, 0)  # written since
        records = [_record(entry) for entry in reply[0][1]] if reply else []
        if not records or any(r.position != (start.epoch, start.offset + i) for i, r in enumerate(records)):
            raise PositionLost(f"{self!r} no longer holds {start}")
        return records

    async def renew(self, above: int) -> None:
        """Begin a new epoch in one script, where nobody did so before."""
        self._open(self._writer)
        await self._begin(above)

    async def _begin(self, above: int) -> None:
        with self._mapped():
            reply = await self._open(self._writer).run(_BEGIN, [self._key], [above, max(self._seen, above)])
        self._head = _position(reply)
        self._seen = max(self._seen, self._head.epoch)

    async def _bounds(self, link: Link) -> Bounds:
        with self._mapped():
            reply = await link.run(_BOUNDS, [self._key], [])
        if reply is None:
            raise PositionLost(f"{self!r} does not exist")
        last = _position(reply[0])
        first = Position(last.epoch, last.offset + 1) if reply[1] is None else _position(reply[1])
        if first.epoch != last.epoch or first.offset < 1:
            raise LogRefused(f"the stream {self._stream!r} holds entries of another program; choose another key")
        self._advance(last)
        return Bounds(last.epoch, first.offset, last.offset)

    async def _xread(self, link: Link, start: Position, limit: int, wait: float) -> Any:
        if start.offset < 1:
            raise PositionLost(f"{start} is before every record")
        block = ("BLOCK", ceil(wait * 1000)) if wait > 0 else ()  # BLOCK 0 would wait for ever
        after = f"{start.epoch}-{start.offset - 1}"
        command = ("XREAD", "COUNT", limit, *block, "STREAMS", self._key, after)
        with self._mapped():
            return await link.call(*command, seconds=max(wait, 0) + CALL_SECONDS)

    async def _connected(self, link: Link | None) -> Link:
        if link is not None and link.alive:
            return link
        if link is not None:
            await link.drop()
        with self._mapped():
            link = Link(self.redis)
            await link.connect()
        return link

    def _open(self, link: Link | None) -> Link:
        if link is None:
            raise LogUnavailable(f"{self!r} is not open")
        return link

    def _advance(self, position: Position) -> None:
        if position.epoch == self._head.epoch:
            self._head = position
        self._seen = max(self._seen, position.epoch)

    def _doubt(self, id: str, head: Position) -> None:
        if len(self._doubts) >= _DOUBTS:
            del self._doubts[next(iter(self._doubts))]
        self._doubts[id] = head

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise self._error(error) from error

    def _error(self, error: BaseException) -> LogRefused | LogUnavailable:
        cause: BaseException | None = error
        while cause is not None:  # over a Unix socket redis-py wraps a refused login
            if isinstance(cause, _REFUSALS) or any(text in str(cause) for text in _REFUSAL_TEXTS):
                return LogRefused(f"the server refuses to keep the stream {self._stream!r}: {cause}")
            cause = cause.__cause__
        return LogUnavailable(f"{self!r}: {str(error) or 'no answer in time'}")


def _position(id: bytes) -> Position:
    epoch, _, offset = id.partition(b"-")
    return Position(int(epoch), int(offset))


def _record(entry: Sequence[Any]) -> Record:
    names = entry[1]
    fields = dict(zip(names[::2], names[1::2], strict=True))
    id = fields.get(b"id", b"").decode(errors="replace")
    return Record(_position(entry[0]), id, fields.get(b"data", b""))
