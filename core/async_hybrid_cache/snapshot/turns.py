"""Long work in the event loop, in turns that nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ..clock import Clock

__all__ = ["Turns", "in_thread"]

T = TypeVar("T")

_TURN_SECONDS = 0.001


class Turns:
    """Works for a millisecond at a time, then leaves the loop to others for `pause` seconds."""

    def __init__(self, clock: Clock, pause: float = 0.0) -> None:
        self._now = clock.monotonic
        self._pause = pause
        self._until = self._now() + _TURN_SECONDS

    @property
    def over(self) -> bool:
        """Whether it is somebody else's turn."""
        return self._now() >= self._until

    async def rest(self) -> None:
        """Let the others have theirs."""
        await asyncio.sleep(self._pause)
        self._until = self._now() + _TURN_SECONDS


async def in_thread(call: Callable[[], T]) -> T:
    """`call()` in a thread. It has ended when this returns, also where this is cancelled."""
    future = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # seen, so that nothing complains
        raise
