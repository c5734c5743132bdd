"""Where a log and an L2 live, and what can happen to them there."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Protocol

from redis.asyncio import Redis

from async_hybrid_cache.log import EventLog
from async_hybrid_cache.positions import Position, Record
from async_hybrid_cache.registry import find_broker

__all__ = ["Place", "RedisPlace", "SqlitePlace", "read_log"]


class Place(Protocol):
    """One log and one L2, and the faults that every broker has."""

    url: str
    namespace: str

    async def trim(self) -> None:
        """Throw away all records but the last."""

    async def delete(self) -> None:
        """Delete the log."""

    async def append_foreign(self) -> None:
        """Let another program append what is no frame."""


class RedisPlace:
    """Under `namespace` on a Redis-protocol server."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self.stream = f"{namespace}:invalidation"

    async def trim(self) -> None:
        """`XTRIM MAXLEN = 1`."""
        async with Redis.from_url(self.url) as redis:
            await redis.xtrim(self.stream, maxlen=1, approximate=False)

    async def delete(self) -> None:
        """`DEL`."""
        async with Redis.from_url(self.url) as redis:
            assert await redis.delete(self.stream) == 1

    async def append_foreign(self) -> None:
        """`XADD` by hand, under the next id."""
        async with Redis.from_url(self.url) as redis:
            last = (await redis.xinfo_stream(self.stream))["last-generated-id"]
            epoch, offset = Position.parse(last.decode())
            await redis.xadd(self.stream, {"hello": "world"}, id=str(Position(epoch, offset + 1)))


class SqlitePlace:
    """In one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.namespace = "ahc"

    async def trim(self) -> None:
        """Delete the rows."""
        self._execute("DELETE FROM ahc_log WHERE offset < (SELECT last FROM ahc_meta)")

    async def delete(self) -> None:
        """Delete the file, under the processes that have it open."""
        for path in self._files():
            path.unlink(missing_ok=True)

    async def append_foreign(self) -> None:
        """A row by hand."""
        self._execute(
            "UPDATE ahc_meta SET last = last + 1",
            "INSERT INTO ahc_log SELECT last, 'hello', x'c1', 0 FROM ahc_meta",
        )

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the file as it is now."""
        with closing(sqlite3.connect(self.path)) as db, closing(sqlite3.connect(path)) as copy:
            db.backup(copy)

    def replace_by(self, path: Path) -> None:
        """Put another file in the place of this one."""
        for old in self._files()[1:]:
            old.unlink(missing_ok=True)
        fresh = self.path.with_suffix(".fresh")
        shutil.copy(path, fresh)
        fresh.replace(self.path)

    def _files(self) -> list[Path]:
        return [Path(f"{self.path}{suffix}") for suffix in ("", "-wal", "-shm")]

    def _execute(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path, timeout=5)) as db, db:
            for statement in statements:
                db.execute(statement)


async def read_log(place: Place) -> list[Record]:
    """All records that the log holds, which are dense."""
    log: EventLog = find_broker(place.url).bus(place.url, namespace=place.namespace, stream=None).new_log()
    await log.open()
    try:
        epoch, first, last = await log.bounds()
        records: list[Record] = []
        while first + len(records) <= last:
            records += await log.read(Position(epoch, first + len(records)), 1000, 0)
    finally:
        await log.close()
    assert [record.position for record in records] == [Position(epoch, n) for n in range(first, last + 1)]
    return records
