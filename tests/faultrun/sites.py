"""Where a run takes place: the servers of one broker, a link of its own for each worker, and what L2 holds."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tests.faults.places import KafkaPlace, NatsPlace, Place, RedisPlace, SqlitePlace
from tests.servers.kafka import KafkaServer
from tests.servers.nats import NatsServer
from tests.servers.proxy import Proxy
from tests.servers.server import LocalServer
from tests.servers.valkey import ValkeyServer
from tests.servers.valkey_pair import ValkeyPair

from .setup import WORKERS

__all__ = ["BROKERS", "KafkaSite", "NatsSite", "RedisSite", "Site", "SqliteSite", "opened"]

_NAMESPACE = "faults"


class Site(ABC):
    """`place` is the log as an administrator reaches it; `links` and `l2_links` are the workers' own ways there."""

    place: Place
    links: list[Proxy]
    l2_links: list[Proxy]

    @property
    @abstractmethod
    def server(self) -> LocalServer:
        """The log's server."""

    def urls(self, worker: int) -> tuple[str, str]:
        """Of log and L2, through the links of `worker`."""
        return self.links[worker].url, self.l2_links[worker].url

    @abstractmethod
    async def wipe_l2(self) -> None:
        """Empty L2, unseen by anybody."""


class RedisL2:
    """An L2 on a Redis-protocol server, as an administrator reaches it. `spared` is a key that is no part of it."""

    def __init__(self, url: str, spared: str = "") -> None:
        self._url = url
        self._spared = spared.encode()

    async def wipe(self) -> None:
        """Delete every key."""
        async with Redis.from_url(self._url) as redis:
            keys = [key async for key in redis.scan_iter(count=1000) if key != self._spared]
            if keys:
                await redis.delete(*keys)

    async def undo(self, seconds: float) -> None:
        """Put everything back as it was so many seconds before."""
        async with Redis.from_url(self._url) as redis:
            held: list[tuple[bytes, bytes, int]] = []
            async for key in redis.scan_iter(count=1000):
                data, ttl = await redis.dump(key), await redis.pttl(key)
                if data is not None and key != self._spared:
                    held.append((key, data, max(0, ttl)))
            await asyncio.sleep(seconds)
            for key, data, ttl in held:
                await redis.restore(key, ttl, data, replace=True)


class RedisSite(Site):
    """A primary with a replica; log and L2 are both on it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.pair = stack.enter_context(closing(ValkeyPair(folder)))
        self.pair.open()
        place = self.place = RedisPlace(self.pair.url, _NAMESPACE)
        self.links = self.l2_links = [stack.enter_context(self.pair.proxy()) for _ in range(WORKERS)]
        self.l2 = RedisL2(self.pair.url, place.stream)

    @property
    def server(self) -> LocalServer:
        return self.pair.primary

    async def wipe_l2(self) -> None:
        await self.l2.wipe()

    async def flush(self) -> None:
        """`FLUSHALL`."""
        async with Redis.from_url(self.pair.url) as redis:
            await redis.flushall()


class NatsSite(Site):
    """One server with log and L2."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._server = stack.enter_context(closing(NatsServer(folder)))
        self._server.open()
        self._place = NatsPlace(self._server.url, _NAMESPACE)
        self.place = self._place
        self.links = self.l2_links = [stack.enter_context(self._server.proxy()) for _ in range(WORKERS)]

    @property
    def server(self) -> LocalServer:
        return self._server

    async def wipe_l2(self) -> None:
        await self._place.purge(f"KV_{_NAMESPACE}")


class KafkaSite(Site):
    """The log on Kafka, L2 on Redis."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._server = stack.enter_context(closing(KafkaServer(folder / "kafka", proxies=WORKERS)))
        self._server.open()
        self.l2_server = stack.enter_context(closing(ValkeyServer(folder / "l2")))
        self.l2_server.open()
        self.place = KafkaPlace(self._server.url, _NAMESPACE)
        self.links = [stack.enter_context(self._server.proxy()) for _ in range(WORKERS)]
        self.l2_links = [stack.enter_context(self.l2_server.proxy()) for _ in range(WORKERS)]
        self.l2 = RedisL2(self.l2_server.url)

    @property
    def server(self) -> LocalServer:
        return self._server

    async def wipe_l2(self) -> None:
        await self.l2.wipe()


class SqliteSite(Site):
    """Log and L2 in one file: no server, and nothing between it and a worker."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        folder.mkdir()
        self.file = SqlitePlace(folder / "cache.db")
        self.place = self.file
        self.links = self.l2_links = []

    @property
    def server(self) -> LocalServer:
        raise NotImplementedError("a file is no server")

    def urls(self, worker: int) -> tuple[str, str]:
        return self.file.url, self.file.url

    async def wipe_l2(self) -> None:
        self._execute("DELETE FROM ahc_entries")

    async def undo_l2(self, seconds: float) -> None:
        """Put every row back as it was so many seconds before."""
        self._execute("CREATE TABLE before AS SELECT * FROM ahc_entries")
        await asyncio.sleep(seconds)
        self._execute("DELETE FROM ahc_entries", "INSERT INTO ahc_entries SELECT * FROM before", "DROP TABLE before")

    def _execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.file.path, timeout=5)) as db, db:
            for statement in statements:
                db.execute(statement)


BROKERS: dict[str, Callable[[Path, ExitStack], Any]] = {
    "sqlite": SqliteSite,
    "redis": RedisSite,
    "nats": NatsSite,
    "kafka": KafkaSite,
}


@contextmanager
def opened(broker: str, folder: Path) -> Iterator[Any]:
    """The site of that name, running, with its data in `folder`."""
    with ExitStack() as stack:
        yield BROKERS[broker](folder, stack)
