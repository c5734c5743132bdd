"""Deletes in L2 that are asked for at once leave together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from .errors import DistributedCacheError

__all__ = ["Deletes"]


class Deletes:
    """Group commit, as the stream has for events: what is asked for while one call is under way goes with the next.

    `delete` is called for one scope at a time; its errors reach everybody whose keys were in that call.
    """

    __slots__ = ("_delete", "_task", "_waiting")

    def __init__(self, delete: Callable[[str, Sequence[str]], Awaitable[None]]) -> None:
        self._delete = delete
        self._waiting: dict[str, list[tuple[Sequence[str], asyncio.Future[None]]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def add(self, scope: str, keys: Sequence[str]) -> None:
        """Delete `keys`; returns once that is done. A caller that is cancelled cancels nobody's delete."""
        loop = asyncio.get_running_loop()
        if self._task is not None and self._task.get_loop() is not loop:
            # what an event loop that is gone left behind
            self._task, self._waiting = None, {}
        done = loop.create_future()
        self._waiting.setdefault(scope, []).append((keys, done))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
        await done

    async def _run(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            for scope, members in waiting.items():
                keys = list(dict.fromkeys(key for keys, _ in members for key in keys))
                failure: DistributedCacheError | None = None
                try:
                    await self._delete(scope, keys)
                except DistributedCacheError as error:
                    failure = error
                for _, done in members:
                    if done.done():
                        continue
                    if failure is None:
                        done.set_result(None)
                    else:
                        done.set_exception(failure)
