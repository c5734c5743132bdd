"""A worker process with a `Member` as its parent sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from async_hybrid_cache.stats import CacheStats

from .child import Child
from .database import Database
from .member import Browsed, Change, Written
from .tape import Heard

__all__ = ["Process"]


class Process(Child):
    """A `Member` in a process of its own, with its methods.

    The bound on staleness is the shipped one unless told; infinity is none.
    """

    def __init__(
        self, database: Database, *place: str, log: Path | None = None, max_staleness_seconds: float | None = None
    ) -> None:
        bound = "" if max_staleness_seconds is None else str(max_staleness_seconds)
        super().__init__("tests.faults.worker", str(database.folder), bound, *place, log=log)

    async def read_all(self, keys: Sequence[str]) -> list[int | None]:
        """See `Member.read_all`."""
        return await self.ask(list[int | None], "read_all", keys)

    async def remove(self, *keys: str) -> Change:
        """See `Member.remove`."""
        return await self.ask(Change, "remove", *keys)

    async def write(self, key: str) -> Change:
        """See `Member.write`."""
        return await self.ask(Change, "write", key)

    async def stats(self) -> CacheStats:
        """See `Member.stats`."""
        return await self.ask(CacheStats, "stats")

    async def browse(self, keys: Sequence[str]) -> None:
        """See `Member.browse`."""
        await self.ask(type(None), "browse", keys)

    async def rest(self) -> Browsed:
        """See `Member.rest`."""
        return await self.ask(Browsed, "rest")

    async def write_on(self, name: str, keys: Sequence[str], pause: float) -> None:
        """See `Member.write_on`."""
        await self.ask(type(None), "write_on", name, keys, pause)

    async def written(self) -> list[Written]:
        """See `Member.written`."""
        return await self.ask(list[Written], "written")

    async def listen(self) -> None:
        """See `Member.listen`."""
        await self.ask(type(None), "listen")

    async def heard(self) -> list[Heard]:
        """See `Member.heard`."""
        return await self.ask(list[Heard], "heard")

    async def hammer(self, prefix: str) -> None:
        """Let it write without end; what it acknowledges comes with `answer`."""
        await self.say("hammer", prefix)
