"""A load that has read the database, and is held up before it returns."""

from __future__ import annotations

import asyncio

from .database import Database

__all__ = ["HeldLoad"]


class HeldLoad:
    """Reads `key`, sets `begun`, and returns what it read once `go_on` is set."""

    def __init__(self, database: Database, key: str) -> None:
        self._database = database
        self._key = key
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self) -> int | None:
        version = self._database.read(self._key)
        self.begun.set()
        await self.go_on.wait()
        return version
