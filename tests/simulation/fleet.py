"""A store of positions without a link, for tests that need no simulation around it."""

from __future__ import annotations

from async_hybrid_cache import Kept

from .positions import PositionServer

__all__ = ["MemoryCheckpoints"]


class MemoryCheckpoints:
    """A `CheckpointStore` that lives as long as its object."""

    def __init__(self) -> None:
        self._server = PositionServer()

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def load(self, name: str) -> Kept | None:
        return self._server.load(name)

    async def save(self, name: str, data: bytes, version: int) -> int:
        return self._server.save(name, data, version)

    @property
    def names(self) -> set[str]:
        return self._server.names
