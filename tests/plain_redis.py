"""A cache that somebody wrote for the predecessor of this package."""

from __future__ import annotations

import json

from redis.asyncio import Redis

__all__ = ["PlainRedis"]


class PlainRedis:
    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def get(self, key: str) -> object | None:
        value = await self._redis.get(self._prefix + key)
        return None if value is None else json.loads(value)  # type: ignore[no-any-return]

    async def set(self, key: str, value: object, ttl_seconds: float) -> None:
        await self._redis.set(self._prefix + key, json.dumps(value), ex=max(1, int(ttl_seconds)))

    async def delete(self, key: str) -> None:
        await self._redis.delete(self._prefix + key)
