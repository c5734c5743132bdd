"""What the tests of the NATS L2 and of its checkpoints share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache_brokers.nats.address import Address
from async_hybrid_cache_brokers.nats.client import Connection
from async_hybrid_cache_brokers.nats.distributed import NatsKVDistributedCache

P = Position(1_760_000_000_000_000, 7)


@asynccontextmanager
async def opened(url: str, bucket: str | None = None, **options: Any) -> AsyncIterator[NatsKVDistributedCache]:
    """An open L2, in a bucket of its own where none is named."""
    l2 = NatsKVDistributedCache(url, bucket=bucket or f"test-{uuid4()}", **options)
    await l2.open()
    try:
        yield l2
    finally:
        await l2.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A plain connection."""
    connection = Connection(Address(url))
    await connection.connect()
    try:
        yield connection
    finally:
        await connection.drop()


async def get(l2: NatsKVDistributedCache, key: str, oldest: Position = ORIGIN, lease: float = 60) -> Hit | Miss:
    return await l2.get("s", key, oldest=oldest, lease_seconds=lease)


async def leased(l2: NatsKVDistributedCache, key: str, lease: float = 60) -> str:
    """The token of a miss, which must hand one out."""
    found = await get(l2, key, lease=lease)
    assert isinstance(found, Miss)
    assert found.token
    return found.token


async def fill(l2: NatsKVDistributedCache, key: str, token: str, data: bytes = b"data", ttl: float = 60) -> bool:
    return await l2.fill("s", key, data, stamp=P, ttl=ttl, token=token)


async def store(l2: NatsKVDistributedCache, key: str, data: bytes = b"data", ttl: float = 60) -> None:
    assert await fill(l2, key, await l2.lease("s", key, lease_seconds=60), data, ttl)


def caught(error: BaseException) -> str:
    """Everything that a log would show of an error of ours."""
    return f"{error}{error!r}"


def messages(connection: Connection, bucket: str) -> Callable[[], Any]:
    """Asks how many messages a bucket holds."""

    async def ask() -> int:
        info = await connection.api(f"STREAM.INFO.KV_{bucket}")
        return int(info["state"]["messages"])

    return ask
