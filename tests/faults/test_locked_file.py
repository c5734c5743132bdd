"""The SQLite file is locked by another program: the counterpart of a server that stands still."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import monotonic

from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, gaps, member, members, write_all
from tests.faults.places import SqlitePlace

KEYS = [f"key-{i}" for i in range(30)]


@contextmanager
def locked(place: SqlitePlace) -> Iterator[None]:
    """Nobody else can write to the file."""
    with closing(sqlite3.connect(place.path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@promise(2, fault="L2 away")
@promise(6, fault="L2 away")
@promise(9, fault="L2 away")
@promise(1, fault="server frozen, or file locked")
@promise(6, fault="server frozen, or file locked")
@promise(9, fault="server frozen, or file locked")
def test_nothing_is_lost_while_nobody_can_write(
    sqlite_place: SqlitePlace, database: Database, figures: dict[str, list[float]]
) -> None:
    async def main() -> None:
        async with members(sqlite_place, database, 3) as fleet:
            writer = fleet[0]
            for seconds in (0.3, 1.5, 4.0):
                await write_all(writer, KEYS)
                await fresh_everywhere(database, fleet, KEYS, monotonic())
                for instance in fleet:
                    await instance.browse(KEYS)
                began = monotonic()
                with locked(sqlite_place):
                    writes = asyncio.gather(*(writer.write(key) for key in KEYS))
                    await asyncio.wait([writes], timeout=seconds)
                    await asyncio.sleep(max(0.0, began + seconds - monotonic()))
                unlocked = monotonic()
                assert max(change.seconds for change in await writes) < 3.5
                figures["SQLite file locked"].append(await fresh_everywhere(database, fleet, KEYS, unlocked))
                for instance in fleet:
                    browsed = await instance.rest()
                    assert browsed.errors == []
                    assert browsed.longest_seconds < 1.5
                await eventually(lambda: writer.cache.stats().distributed.late_deletes == 0, timeout=2.0)
                async with member(sqlite_place, database) as newcomer:
                    assert await newcomer.read_all(KEYS) == database.read_all(KEYS)
            assert await gaps(fleet) == [0, 0, 0]

    asyncio.run(main())
