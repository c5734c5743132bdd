"""Who waits for which position to be applied here."""

from __future__ import annotations

import asyncio
import itertools
from heapq import heapify, heappop, heappush

from ..positions import ORIGIN, Position

__all__ = ["Arrivals"]


class Arrivals:
    """Waiters by position; `reach` lets those go whose position is applied."""

    def __init__(self) -> None:
        self._at: Position = ORIGIN
        self._waiting: list[tuple[Position, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    async def wait(self, position: Position, timeout: float) -> bool:
        """Whether `position` is applied within `timeout` seconds."""
        if position <= self._at:
            return True
        waiter = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (position, next(self._number), waiter))
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            if not waiter.done() or waiter.cancelled():
                self._waiting = [waiting for waiting in self._waiting if waiting[2] is not waiter]
                heapify(self._waiting)
        return True

    def reach(self, position: Position) -> None:
        """Everything up to `position` is applied."""
        self._at = position
        while self._waiting and self._waiting[0][0] <= position:
            waiter = heappop(self._waiting)[2]
            # one whose loop was closed under it has nobody left who waits
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)
