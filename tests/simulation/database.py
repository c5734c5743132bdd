"""The database that everything is cached from."""

from __future__ import annotations

import asyncio
import random

__all__ = ["Database"]


class Database:
    """Versions by key. A row's value is its version."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.versions: dict[str, int] = {}
        self.heal()

    def heal(self) -> None:
        self.failing, self.slow = 0.0, 0.02

    def trouble(self) -> None:
        self.failing, self.slow = 0.4, 0.2

    def write(self, key: str) -> int:
        self.versions[key] = self.versions.get(key, 0) + 1
        return self.versions[key]

    async def read(self, key: str) -> int:
        await asyncio.sleep(self._rng.uniform(0, self.slow))
        if self._rng.random() < self.failing:
            raise ConnectionError("the database is away")
        version = self.versions.get(key, 0)
        await asyncio.sleep(self._rng.uniform(0, self.slow))
        return version
