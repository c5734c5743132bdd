"""Deletes in L2 before they are announced: bounded in time, tried again, grouped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence

from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved, ScopeCleared

from ..bounded import bounded
from ..deletes import Deletes
from ..distributed import DistributedCache
from ..errors import DistributedCacheError

__all__ = ["Remover"]

_RETRY_SECONDS = 0.05


class Remover:
    """An L2 of which nothing but deletes is asked; `attempt_seconds` is what one of them may take."""

    def __init__(self, cache: DistributedCache, attempt_seconds: float) -> None:
        self._cache = cache
        self._attempt_seconds = attempt_seconds
        self._deletes = Deletes(self._delete)

    async def open(self) -> None:
        """Connect; raises `DistributedCacheError`."""
        await self._bounded(self._cache.open())

    async def close(self) -> None:
        """Let go of the server, in bounded time. Never raises."""
        with contextlib.suppress(DistributedCacheError):
            await self._bounded(self._cache.close())

    async def drop(self, event: Event, timeout: float) -> DistributedCacheError | None:
        """Delete what `event` names, trying again for `timeout` seconds; what went wrong where that was not enough."""
        failure: DistributedCacheError | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await self._drop(event)
                        return None
                    except DistributedCacheError as error:
                        failure = error
                    await asyncio.sleep(_RETRY_SECONDS)
                    with contextlib.suppress(DistributedCacheError):
                        await self.open()
        except TimeoutError:
            return failure or DistributedCacheError(f"L2 did not answer within {timeout:g} s")

    async def _drop(self, event: Event) -> None:
        match event:
            case KeysRemoved():
                await self._deletes.add(event.scope, event.keys)
            case ScopeCleared():
                await self._bounded(self._cache.clear(event.scope))
            case CacheCleared():
                await self._bounded(self._cache.clear(None))
            case _:
                pass  # entries of L2 are not found by their tags

    async def _delete(self, scope: str, keys: Sequence[str]) -> None:
        await self._bounded(self._cache.delete(scope, keys))

    async def _bounded(self, call: Awaitable[None]) -> None:
        try:
            await bounded(call, self._attempt_seconds, DistributedCacheError, "L2")
        except DistributedCacheError:
            raise
        except Exception as error:
            raise DistributedCacheError(f"L2 failed: {type(error).__name__}") from error
