"""Connections of our own, made as the given client makes its, but without its retries and decoding."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from typing import Any

from redis.asyncio import Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from async_hybrid_cache.errors import ConfigurationError

__all__ = ["Link", "LinkPool", "Script", "checked", "same_database"]

CONNECT_SECONDS = 5.0
CALL_SECONDS = 5.0

# a client's own retries send XADD again; its maintenance handlers belong to its pool and need RESP3
_FOREIGN = ("maint", "orig_")


def checked(redis: Redis) -> Redis:
    """`redis`, if it is a client that connections can be copied from."""
    if not isinstance(redis, Redis):
        raise ConfigurationError(
            f"a redis.asyncio.Redis client is needed, not {type(redis).__module__}.{type(redis).__qualname__}"
        )
    return redis


def same_database(one: Redis, other: Redis) -> bool:
    """Whether both clients connect to the same database of the same server, as the same user; False where in doubt."""
    place = _place(one)
    return place is not None and place == _place(other)


def _place(redis: Redis) -> tuple[Any, ...] | None:
    pool = redis.connection_pool
    # others find their server as they like, such as those of Sentinel
    if pool.connection_class not in (Connection, SSLConnection, UnixDomainSocketConnection):
        return None
    options = pool.connection_kwargs
    address = options.get("path") or (options.get("host", "localhost"), options.get("port", 6379))
    return pool.connection_class, address, options.get("db") or 0, options.get("username")


class Script:
    """A Lua script of this folder, behind the one whose functions it uses."""

    def __init__(self, *names: str) -> None:
        folder = files(__name__.rpartition(".")[0])
        self.source = b"".join(folder.joinpath(f"{name}.lua").read_bytes() for name in names)
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


class Link:
    """One connection, one command at a time. Once lost it stays lost.

    Errors are the driver's: `RedisError` or `OSError`. Whatever ends a call before its reply was read, a
    cancellation too, ends the connection.
    """

    def __init__(self, redis: Redis) -> None:
        pool = redis.connection_pool
        options = {k: v for k, v in pool.connection_kwargs.items() if not k.startswith(_FOREIGN)}
        options.update(
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
            retry_on_error=[],
            health_check_interval=0,
            decode_responses=False,
            protocol=2,
            socket_timeout=None,  # `call` bounds each command as a whole
            socket_connect_timeout=CONNECT_SECONDS,
        )
        self._connection: Any = pool.connection_class(**options)
        self._turn = asyncio.Lock()

    async def connect(self) -> None:
        """Connect, once."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connection.connect()
        except BaseException as error:
            await self.drop()
            if isinstance(error, (RedisError, OSError)) or not isinstance(error, Exception):
                raise
            # a credential provider or a connect callback of the user's
            raise RedisConnectionError(f"{type(error).__name__} while connecting") from error

    @property
    def alive(self) -> bool:
        """Whether nothing is known to be wrong with the connection."""
        return self._connection.is_connected and not self._connection._reader.at_eof()

    async def call(self, *command: Any, seconds: float = CALL_SECONDS) -> Any:
        """The reply to one command, as RESP2 and bytes."""
        async with self._turn:
            # redis-py would connect again in silence
            if not self.alive:
                await self.drop()
                raise RedisConnectionError("the connection was lost")
            try:
                async with asyncio.timeout(seconds):
                    await self._connection.send_command(*command, check_health=False)
                    return await self._connection.read_response()
            except ResponseError:
                raise
            except BaseException:
                await self.drop()
                raise

    async def send(self, *command: Any) -> None:
        """Send one command, whose reply `receive` brings."""
        if not self.alive:
            raise RedisConnectionError("the connection was lost")
        await self._connection.send_command(*command, check_health=False)

    async def receive(self) -> Any:
        """The next reply or message, whenever it comes."""
        return await self._connection.read_response()

    async def run(self, script: Script, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        """The reply of a script, which is sent in full where the server does not know it (any more)."""
        try:
            return await self.call("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await self.call("EVAL", script.source, len(keys), *keys, *args)

    async def drop(self) -> None:
        """Cut the connection, without waiting for a server that may be frozen. Never raises."""
        with suppress(Exception):
            writer = self._connection._writer
            if writer is not None:
                writer.transport.abort()
            await self._connection.disconnect(nowait=True)


class LinkPool:
    """At most `size` links; who finds none free waits for one. Bound to the loop it is made in."""

    def __init__(self, redis: Redis, size: int) -> None:
        self._redis = redis
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Link] = []
        self._links: set[Link] = set()
        self._closed = False

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """A live link, for the caller alone."""
        async with self._slots:
            link = await self._take()
            try:
                yield link
            finally:
                if link.alive and not self._closed:
                    self._idle.append(link)
                else:
                    self._links.discard(link)
                    await link.drop()

    async def close(self) -> None:
        """Cut every link, those in use too. Never raises."""
        self._closed = True
        self._idle.clear()
        for link in list(self._links):
            await link.drop()

    async def _take(self) -> Link:
        while self._idle:
            link = self._idle.pop()
            if link.alive:
                return link
            self._links.discard(link)
            await link.drop()
        if self._closed:
            raise RedisConnectionError("closed")
        link = Link(self._redis)
        self._links.add(link)
        try:
            await link.connect()
        except BaseException:
            self._links.discard(link)
            raise
        return link
