"""Instances whose L2 is a class that somebody wrote for the predecessor of this package, on Redis."""

from __future__ import annotations

from redis.asyncio import Redis

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.registry import find_broker
from tests.plain_redis import PlainRedis

__all__ = ["PLAIN", "new_plain_cache"]

PLAIN = "plain+"
"""Before the URL of a server: take it for the log, and for L2 through that class."""


def new_plain_cache(url: str, namespace: str) -> AsyncHybridCache:
    """A cache at shipped defaults, on `url` with that mark."""
    url = url.removeprefix(PLAIN)
    return AsyncHybridCache(
        distributed_cache=PlainRedis(Redis.from_url(url), f"{namespace}:"),
        invalidation_bus=find_broker(url).bus(url, namespace=namespace, stream=None),
    )
