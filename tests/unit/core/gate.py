"""A loader that a test holds up."""

from __future__ import annotations

import asyncio
from typing import Any

from async_hybrid_cache.testing.waiting import eventually

__all__ = ["Gate"]


class Gate:
    """A loader that answers when told to."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[Any]] = []

    async def __call__(self) -> Any:
        self.calls.append(asyncio.get_running_loop().create_future())
        return await self.calls[-1]

    async def called(self, times: int = 1) -> None:
        await eventually(lambda: len(self.calls) >= times)
