"""Where positions and leases are kept over restarts, and one instance's view of that."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from async_hybrid_cache import CheckpointConflict, Kept
from async_hybrid_cache.ownership.document import _decode as _decode_document

from .link import Link

__all__ = ["PositionServer", "SimulatedCheckpoints"]


class PositionServer:
    """Documents by name; `on_save` hears of every one that is written."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._versions = itertools.count(1)
        self.on_save: Callable[[str, bytes], None] = lambda name, data: None

    @property
    def names(self) -> set[str]:
        return set(self._kept)

    def load(self, name: str) -> Kept | None:
        return self._kept.get(name)

    def save(self, name: str, data: bytes, version: int) -> int:
        kept = self._kept.get(name)
        if version != (kept.version if kept else 0):
            raise CheckpointConflict(name)
        self._kept[name] = Kept(data, next(self._versions))
        self.on_save(name, data)
        return self._kept[name].version

    def writer(self, name: str) -> str | None:
        """Who wrote a document last."""
        kept = self._kept.get(name)
        return _decode_document(kept.data).writer if kept else None


class SimulatedCheckpoints:
    """One instance's `CheckpointStore`."""

    def __init__(self, server: PositionServer, link: Link) -> None:
        self._server = server
        self._link = link

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def load(self, name: str) -> Kept | None:
        return await self._link.ask(lambda: self._server.load(name))

    async def save(self, name: str, data: bytes, version: int) -> int:
        return await self._link.ask(lambda: self._server.save(name, data, version))
