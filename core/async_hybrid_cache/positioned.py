"""Reads at a position: they see every change up to it."""

from __future__ import annotations

from typing import Any

from .loader import Loader, Loading
from .positions import Position
from .scopes import Scope
from .stream import InvalidationStream

__all__ = ["PositionedReads"]

_CATCH_UP_SECONDS = 1.0


class PositionedReads:
    """Waits for a position to be applied here, a second at most, and goes past what is kept where it is not."""

    def __init__(self, loader: Loader, stream: InvalidationStream | None) -> None:
        self._loader = loader
        self._stream = stream

    async def read(self, scope: Scope, key: str, loading: Loading, position: Position | None) -> Any:
        """The value of `key`, no older than `position`; without a bus, or a position, any value will do."""
        if position is not None and self._stream and not await self._stream.arrivals.wait(position, _CATCH_UP_SECONDS):
            loading.no_older_than = position
            return await self._loader.get_past(scope, key, loading, position)
        return await self._loader.get(scope, key, loading)
