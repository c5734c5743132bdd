"""Checkpoints on Redis: a hash for each, replaced by a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from async_hybrid_cache.checkpoint import Kept
from async_hybrid_cache.errors import CheckpointConflict, CheckpointError

from .client import Link, LinkPool, Script, checked
from .layout import utf8

__all__ = ["RedisCheckpointStore"]

_SAVE = Script("save")
_CONNECTIONS = 2


class RedisCheckpointStore:
    """Documents under the keys `prefix:name` of a Redis 7 or Valkey server.

    Connections are made as `redis` makes its own, which is never used itself nor closed. The keys have no time to
    live; a server that evicts them (`maxmemory-policy allkeys-*`) makes readers begin anew. As durable as the server
    is set up to be: with `appendfsync everysec` a crash of its machine may take the last second.
    """

    def __init__(self, redis: Redis, *, prefix: str = "ahc:%checkpoint") -> None:
        self._redis = checked(redis)
        self._prefix = prefix
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: LinkPool | None = None

    def __repr__(self) -> str:
        return f"RedisCheckpointStore({self._prefix!r})"

    async def open(self) -> None:
        """Make ready for the running loop; connections are made when they are needed."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._pool is None:
            self._loop, self._pool = loop, LinkPool(self._redis, _CONNECTIONS)

    async def close(self) -> None:
        """Cut every connection, without waiting for the server; calls under way fail."""
        pool, self._pool, self._loop = self._pool, None, None
        if pool is not None:
            await pool.close()
            await asyncio.sleep(0)  # the transports are told in the next turn of the loop

    async def load(self, name: str) -> Kept | None:
        """The document under `name`."""
        async with self._link() as link:
            version, data = await link.call("HMGET", self._key(name), "version", "data")
            return None if version is None else Kept(data, int(version))

    async def save(self, name: str, data: bytes, version: int) -> int:
        """Replace the document of this version, in one script."""
        async with self._link() as link:
            saved = await link.run(_SAVE, [self._key(name)], [version, data])
        if saved is None:
            raise CheckpointConflict(f"the checkpoint {name!r} is not at version {version} any more")
        return int(saved)

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[Link]:
        if self._pool is None:
            raise CheckpointError(f"{self!r} is not open")
        try:
            async with self._pool.link() as link:
                yield link
        except (RedisError, OSError) as error:
            raise CheckpointError(f"Redis: {str(error) or 'no answer in time'}") from error

    def _key(self, name: str) -> bytes:
        return utf8(f"{self._prefix}:{name}")
