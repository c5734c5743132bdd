"""One store object, used by several parts of a program: opened by the first, closed by the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..bounded import bounded
from ..checkpoint import CheckpointStore, Kept
from ..errors import CheckpointConflict, CheckpointError

__all__ = ["StoreUse"]

logger = logging.getLogger("async_hybrid_cache")

T = TypeVar("T")


class _Opened:
    """A store that is open in a loop, and the uses of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.turn = asyncio.Lock()
        self.ready = False
        self.users: set[StoreUse] = set()


_opened: dict[int, _Opened] = {}


class StoreUse:
    """A part's own view of a store: every call is bounded by `seconds`, and opens the store where that is needed.

    After an error that is no conflict the store is opened again before the next call.
    """

    def __init__(self, store: CheckpointStore, seconds: float) -> None:
        self.store = store
        self._seconds = seconds

    async def load(self, name: str) -> Kept | None:
        """See `CheckpointStore.load`."""
        return await self._call(lambda: self.store.load(name))

    async def save(self, name: str, data: bytes, version: int) -> int:
        """See `CheckpointStore.save`."""
        return await self._call(lambda: self.store.save(name, data, version))

    async def close(self) -> None:
        """End this use; the last one closes the store, in bounded time. Never raises."""
        opened = _opened.get(id(self.store))
        if opened is None or self not in opened.users:
            return
        opened.users.discard(self)
        if opened.users:
            return
        try:
            if opened.loop is asyncio.get_running_loop():
                await bounded(self._close(opened), self._seconds, CheckpointError, "the checkpoint store")
        except Exception as error:
            logger.warning("a checkpoint store did not close in good order: %s", type(error).__name__)
        finally:
            if not opened.users and _opened.get(id(self.store)) is opened:
                del _opened[id(self.store)]

    async def _close(self, opened: _Opened) -> None:
        async with opened.turn:
            # somebody may have begun to use it while this waited
            if not opened.users:
                opened.ready = False
                await self.store.close()

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        opened = self._borrow()
        try:
            return await bounded(self._open_and(opened, call), self._seconds, CheckpointError, "the checkpoint store")
        except CheckpointConflict:
            raise
        except CheckpointError:
            opened.ready = False
            raise
        except Exception as error:
            opened.ready = False
            raise CheckpointError(f"the checkpoint store raised {type(error).__name__}") from error

    async def _open_and(self, opened: _Opened, call: Callable[[], Awaitable[T]]) -> T:
        if not opened.ready:
            async with opened.turn:
                if not opened.ready:
                    await self.store.open()
                    opened.ready = True
        return await call()

    def _borrow(self) -> _Opened:
        loop = asyncio.get_running_loop()
        opened = _opened.get(id(self.store))
        if opened is None or opened.loop is not loop:
            # a loop that ended without a close, or the parent's of a fork
            for key in [key for key, other in _opened.items() if other.loop.is_closed()]:
                del _opened[key]
            opened = _opened[id(self.store)] = _Opened(loop)
        opened.users.add(self)
        return opened
