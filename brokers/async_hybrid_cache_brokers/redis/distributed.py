"""The L2 on Redis: one key for each entry or lease, one script call for each operation."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import DistributedCacheError
from async_hybrid_cache.joint import JointAppend
from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Position
from async_hybrid_cache.validation import checked_part
from async_hybrid_cache_codecs import Serializer

from .batch import Batch, Group, failure
from .client import Link, LinkPool, Script, checked, same_database
from .joint import Joint
from .layout import clears_key, entry_key, millis, scope_field, stamp_digits, utf8
from .log import RedisStreamsLog
from .watches import Watches

__all__ = ["RedisDistributedCache"]

_LEASE = Script("generation", "wake", "lease")
_FILL = Script("generation", "wake", "fill")
_RELEASE = Script("generation", "wake", "release")
_DELETE = Script("wake", "delete")
_CLEAR = Script("generation", "wake", "clear")

_CONNECTIONS = 4


class RedisDistributedCache:
    """A `DistributedCache` under the keys `prefix:scope:key` of a Redis 7 or Valkey server.

    Connections are made as `redis` makes its own, which is never used itself nor closed. No other program's
    keys may begin with `prefix` and a colon. `serializer` is `MsgpackSerializer()` by default.
    """

    def __init__(self, redis: Redis, *, prefix: str = "ahc", serializer: Serializer | None = None) -> None:
        checked_part("serializer", serializer, Serializer)
        if serializer is None:
            from async_hybrid_cache_codecs.msgpack import MsgpackSerializer

            serializer = MsgpackSerializer()
        self._redis = checked(redis)
        self._prefix = prefix
        self._clears = clears_key(prefix)
        self._serializer = serializer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: LinkPool | None = None
        self._batch: Batch | None = None
        self._watches: Watches | None = None

    def __repr__(self) -> str:
        return f"RedisDistributedCache({self._prefix!r})"

    @property
    def serializer(self) -> Serializer:
        """Turns values into bytes."""
        return self._serializer

    async def open(self) -> None:
        """Make ready for the running loop; connections are made when they are needed."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._pool, self._batch = loop, LinkPool(self._redis, _CONNECTIONS), None
            self._watches = Watches(self._redis, self._clears)

    async def close(self) -> None:
        """Cut every connection, without waiting for the server; calls under way fail."""
        pool, self._pool, self._batch, self._loop = self._pool, None, None, None
        watches, self._watches = self._watches, None
        if watches is not None:
            await watches.close()
        if pool is not None:
            await pool.close()
            await asyncio.sleep(0)  # the transports are told in the next turn of the loop

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        """The entry, or a lease to fill it; the gets of one turn of the loop share a round trip."""
        batch = self._batch
        if batch is None or not batch.open:
            batch = self._batch = Batch(self._opened(), self._clears)
        return await batch.join(Group(scope, oldest, lease_seconds), self._key(scope, key))

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        """Replace the entry, or any lease on it, by a new lease."""
        token = secrets.token_hex(16)
        async with self._link() as link:
            keys = [self._clears, self._key(scope, key)]
            await link.run(_LEASE, keys, [scope_field(scope), token, millis(lease_seconds)])
        return token

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        """Replace the lease `token` by an entry, where it is still there."""
        async with self._link() as link:
            keys = [self._clears, self._key(scope, key)]
            args = [scope_field(scope), utf8(token), stamp_digits(stamp), millis(ttl), data]
            return bool(await link.run(_FILL, keys, args))

    async def release(self, scope: str, key: str, *, token: str) -> None:
        """Remove the lease `token`, where it is still there."""
        async with self._link() as link:
            await link.run(_RELEASE, [self._clears, self._key(scope, key)], [scope_field(scope), utf8(token)])

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        """Delete entries and leases, which live under the same keys."""
        if keys:
            async with self._link() as link:
                await link.run(_DELETE, [self._key(scope, key) for key in keys], [])

    async def clear(self, scope: str | None) -> None:
        """Begin a new generation, in which entries and leases of older ones count as missing."""
        async with self._link() as link:
            await link.run(_CLEAR, [self._clears], [scope_field(scope)])

    def joined(self, log: EventLog) -> JointAppend | None:
        """In one script, where `log` is on the same database of the same server."""
        # a subclass may append otherwise
        if type(log) is not RedisStreamsLog or not same_database(self._redis, log.redis):
            return None
        return Joint(log, self._prefix).append

    def watch(self, scope: str, key: str) -> AbstractAsyncContextManager[asyncio.Event]:
        """What is set once a lease on the key may have ended; by a message, over one more connection."""
        if self._watches is None:
            raise DistributedCacheError(f"{self!r} is not open")
        return self._watches.watch(self._key(scope, key))

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[Link]:
        try:
            async with self._opened().link() as link:
                yield link
        except (RedisError, OSError) as error:
            raise failure(error) from error

    def _opened(self) -> LinkPool:
        if self._pool is None:
            raise DistributedCacheError(f"{self!r} is not open")
        return self._pool

    def _key(self, scope: str, key: str) -> bytes:
        return entry_key(self._prefix, scope, key)
