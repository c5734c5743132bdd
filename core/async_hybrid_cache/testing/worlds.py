"""What a broker hands to the contracts: its own way to make handles on one isolated thing."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from async_hybrid_cache.checkpoint import CheckpointStore
from async_hybrid_cache.distributed import DistributedCache
from async_hybrid_cache.log import EventLog

__all__ = ["CheckpointWorld", "DistributedWorld", "World", "scenario"]

H = TypeVar("H", EventLog, DistributedCache, CheckpointStore)
TEST_SECONDS = 60


class World(ABC, Generic[H]):
    """One isolated log, L2 or set of checkpoints.

    Every handle is closed when the world is left, in the loop that leaves it.
    """

    def __init__(self) -> None:
        self.handles: list[H] = []

    @abstractmethod
    def make(self) -> H:
        """One more handle, not opened yet."""

    async def opened(self) -> H:
        """One more handle, opened."""
        handle = self.handle()
        await handle.open()
        return handle

    def handle(self) -> H:
        """One more handle, not opened yet, and closed with the world."""
        handle = self.make()
        self.handles.append(handle)
        return handle

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        for handle in self.handles:
            await handle.close()


class CheckpointWorld(World[CheckpointStore]):
    """One isolated set of checkpoints."""


class DistributedWorld(World[DistributedCache]):
    """One isolated L2, and others' data in the same server or file."""

    @abstractmethod
    async def settle_neighbours(self) -> None:
        """Write what belongs to others."""

    @abstractmethod
    async def check_neighbours(self) -> None:
        """Assert that all of it is still there."""


def scenario(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """An async test in one world, run in a loop of its own, and never for more than `TEST_SECONDS`."""

    @functools.wraps(test)
    def run(self: Any, world: World[Any], **parameters: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(TEST_SECONDS), world:
                await test(self, world, **parameters)

        asyncio.run(bounded())

    return run
