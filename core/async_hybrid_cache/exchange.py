"""What one request asks for, and what its changes were acknowledged at."""

from __future__ import annotations

from contextvars import ContextVar

from .positions import Position

__all__ = ["Exchange", "current", "note_acknowledged"]


class Exchange:
    """One request and its response: `requested` came with it, `newest` goes back."""

    def __init__(self, requested: Position | None) -> None:
        self.requested = requested
        self.newest = requested


current: ContextVar[Exchange | None] = ContextVar("async_hybrid_cache_exchange", default=None)


def note_acknowledged(position: Position) -> None:
    """A change made in the current request, if there is one, was acknowledged."""
    exchange = current.get()
    if exchange is not None and (exchange.newest is None or position > exchange.newest):
        exchange.newest = position
