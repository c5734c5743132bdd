"""The invalidation bus on a Redis stream."""

from __future__ import annotations

from redis.asyncio import Redis

from async_hybrid_cache.bus import InvalidationBus, StreamOptions

from .log import RedisStreamsLog

__all__ = ["RedisStreamsInvalidationBus"]


class RedisStreamsInvalidationBus(InvalidationBus):
    """Invalidations over the stream `stream_key` of a Redis 7 or Valkey server.

    `redis` only says how to connect: it is not used itself, and never closed. About `retention_records`
    records are kept for instances that were away; `stream` says how each instance runs.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        stream_key: str = "ahc:invalidation",
        retention_records: int = 100_000,
        stream: StreamOptions | None = None,
    ) -> None:
        super().__init__(lambda: RedisStreamsLog(redis, stream=stream_key, retention_records=retention_records), stream)
