"""Who waits for a lease to end is told so, over one connection for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from .batch import failure
from .client import Link

__all__ = ["Watches"]

logger = logging.getLogger("async_hybrid_cache")


class Watches:
    """Subscriptions to the channels of single keys, and to the one of clears, which concern every key.

    Connects when somebody first watches. A connection that is lost wakes everybody, and the next watch makes another.
    """

    def __init__(self, redis: Redis, clears: bytes) -> None:
        self._redis = redis
        self._clears = clears
        self._turn = asyncio.Lock()
        self._closed = False
        self._link: Link | None = None
        self._reading: asyncio.Task[None] | None = None
        self._events: dict[bytes, set[asyncio.Event]] = {}
        # each command has one reply, and they come in its order
        self._unconfirmed: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def watch(self, channel: bytes) -> AsyncIterator[asyncio.Event]:
        """An event that is set with the next message of `channel`, or one of a clear."""
        changed = asyncio.Event()
        try:
            await self._subscribe(channel, changed)
        except (RedisError, OSError) as error:
            self._leave(channel, changed)
            raise failure(error) from error
        except BaseException:
            # a server that did not answer in time
            self._leave(channel, changed)
            await self._lose()
            raise
        try:
            yield changed
        finally:
            if self._leave(channel, changed):
                await self._unsubscribe(channel)

    async def close(self) -> None:
        """Cut the connection, for good. Never raises."""
        self._closed = True
        await self._lose()

    async def _subscribe(self, channel: bytes, changed: asyncio.Event) -> None:
        async with self._turn:
            link = self._link
            if link is None or not link.alive:
                link = await self._connect()
            self._events.setdefault(channel, set()).add(changed)
            # again where somebody else did already: the reply says that it has been done
            confirmed = await self._send(link, "SUBSCRIBE", channel)
        await confirmed

    async def _unsubscribe(self, channel: bytes) -> None:
        try:
            async with self._turn:
                # somebody else may watch it by now
                if self._link is not None and channel not in self._events:
                    await self._send(self._link, "UNSUBSCRIBE", channel)
        except (RedisError, OSError):
            pass  # with the connection, the subscription is gone
        except BaseException:
            # it is not known how many replies will come
            await self._lose()
            raise

    async def _connect(self) -> Link:
        await self._lose()
        link = Link(self._redis)
        await link.connect()
        if self._closed:
            await link.drop()
            raise RedisConnectionError("closed")
        # of a connection that was lost while it was asked
        self._unconfirmed.clear()
        self._link, self._reading = link, asyncio.create_task(self._read(link))
        await self._send(link, "SUBSCRIBE", self._clears)
        return link

    async def _send(self, link: Link, command: str, channel: bytes) -> asyncio.Future[None]:
        """What the reply settles; one at a time, as replies are told apart by their order alone."""
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed.append(confirmed)
        await link.send(command, channel)
        return confirmed

    def _leave(self, channel: bytes, changed: asyncio.Event) -> bool:
        """Whether nobody watches the channel any more."""
        events = self._events.get(channel, set())
        events.discard(changed)
        if not events:
            self._events.pop(channel, None)
        return not events

    async def _read(self, link: Link) -> None:
        # should it end of anything else: nobody may wait for what is not read any more
        end: Exception = RedisConnectionError("its messages are read no more")
        try:
            while True:
                try:
                    kind, channel, _ = await link.receive()
                except ResponseError as error:
                    self._confirm(error)
                    continue
                if kind in (b"subscribe", b"unsubscribe"):
                    self._confirm(None)
                elif kind == b"message":
                    self._wake(None if channel == self._clears else channel)
        except (RedisError, OSError) as error:
            end = error
        except Exception:
            logger.exception("the connection for watches is given up")
        finally:
            self._end(link, end)
            await link.drop()

    def _confirm(self, error: Exception | None) -> None:
        confirmed = self._unconfirmed.popleft()
        if confirmed.done():
            return
        if error is None:
            confirmed.set_result(None)
        else:
            confirmed.set_exception(error)
            confirmed.exception()  # nobody waits for that of clears, or of an UNSUBSCRIBE

    def _wake(self, channel: bytes | None) -> None:
        woken = list(self._events.values()) if channel is None else [self._events.get(channel, set())]
        for events in woken:
            for event in events:
                event.set()

    def _end(self, link: Link, error: Exception) -> None:
        if self._link is link:
            self._link = None
            while self._unconfirmed:
                self._confirm(error)
            self._wake(None)

    async def _lose(self) -> None:
        link, reading = self._link, self._reading
        self._reading = None
        if link is not None:
            self._end(link, ConnectionError("the connection was cut"))
            await link.drop()
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
