"""A writer killed between its commit and its confirmation: on every broker, nobody is left with the old value."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually

READERS = 2
SHORT_SECONDS = 2.0

WRITER = """
import asyncio, os, signal, sys, time
from pathlib import Path
from async_hybrid_cache import AsyncHybridCache

url, namespace, database, seconds = sys.argv[1:]

async def main():
    async with AsyncHybridCache.from_url(url, namespace=namespace) as cache:
        users = cache.scope("users")
        began = time.monotonic()
        async with users.invalidating("a") as first, users.invalidating("b", within_seconds=float(seconds)) as second:
            assert first.position and second.position
            Path(database).write_text("new")
            assert time.monotonic() < began + float(seconds)
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


class Reader:
    """A cache, and how often it asked the database."""

    def __init__(self, url: str, namespace: str, database: Path) -> None:
        self.cache = AsyncHybridCache.from_url(url, namespace=namespace)
        self._database = database
        self.loads = 0

    async def _load(self) -> str:
        self.loads += 1
        return self._database.read_text()

    async def get(self, key: str) -> str:
        return await self.cache.get_or_set(key, self._load, scope="users")

    async def keeps(self, key: str) -> bool:
        """Whether it has a value of `key`, once it was asked for it."""
        await self.get(key)
        before = self.loads
        await self.get(key)
        return self.loads == before


@promise(6, fault="process killed before it removes")
def test_a_writer_killed_after_its_commit_leaves_nobody_stale(url: str, namespace: str, tmp_path: Path) -> None:
    database = tmp_path / "database"
    database.write_text("old")

    async def scenario() -> None:
        readers = [Reader(url, namespace, database) for _ in range(READERS)]
        for reader in readers:
            await reader.cache.start()
        try:
            for reader in readers:
                for key in "ab":
                    assert await reader.get(key) == "old"
                    assert await reader.keeps(key)
            writer = await asyncio.create_subprocess_exec(
                *[sys.executable, "-W", "error", "-c", WRITER, url, namespace, str(database), str(SHORT_SECONDS)]
            )
            assert await asyncio.wait_for(writer.wait(), 30) == -signal.SIGKILL
            for reader in readers:

                async def new(reader: Reader = reader) -> bool:
                    return [await reader.get("a"), await reader.get("b")] == ["new", "new"]

                await eventually(new, timeout=2)
                # nothing confirms it, and its 30 s are not over
                assert not await reader.keeps("a")
            for reader in readers:

                async def kept(reader: Reader = reader) -> bool:
                    return await reader.keeps("b")

                await eventually(kept, timeout=SHORT_SECONDS + 3, poll_seconds=0.05)
                assert await reader.get("b") == "new"
            stats = [reader.cache.stats() for reader in readers]
            assert [stat.resets for stat in stats] == [0] * READERS
        finally:
            for reader in readers:
                await reader.cache.stop()

    asyncio.run(scenario())
