"""One load at a time per key: everybody who wants the value waits for the same one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from .clock import NEVER
from .copies import Copier, copier
from .options import EffectiveOptions
from .positions import ORIGIN, Position

__all__ = ["Load", "reader", "same", "start"]


class Load:
    """A load under way. It runs in a task of its own, so that no caller's cancellation reaches it.

    `stamp` is where the instance stood when it began, `began_at` the monotonic time of that; `fenced` means that an
    invalidation overtook it: those who already wait still get its value, it may fill nothing, and nobody joins it
    any more. One that begins while its key is being changed is fenced too, and joined until that change ends.
    Who began it knew that `no_older_than` was acknowledged, so it brings every change up to that as well.
    """

    __slots__ = (
        "_error", "_value", "began_at", "begun", "done", "elsewhere", "fenced", "no_older_than", "overdue", "stamp",
        "task", "timer", "waiters",
    )  # fmt: skip

    def __init__(self, stamp: Position, began_at: float = NEVER) -> None:
        self.stamp = stamp
        self.began_at = began_at
        self.no_older_than: Position = ORIGIN
        self.begun = False
        self.done = False
        self.fenced = False
        self.overdue = False
        self.elsewhere: asyncio.Event | None = None
        """While another process loads this key: what tells that it may have ended."""
        self.task: asyncio.Task[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.waiters: list[asyncio.Future[Any]] = []
        self._value: Any = None
        self._error: BaseException | None = None

    def fence(self) -> None:
        """An invalidation overtook it."""
        self.fenced = True
        if self.elsewhere is not None:
            self.elsewhere.set()

    def result(self) -> Any:
        """What a load that is done brought; raises the loader's error."""
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self) -> asyncio.Future[Any]:
        """A future of one's own for the result; cancelling it hurts nobody else."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        return waiter

    def succeed(self, value: Any, read: Callable[[Any], Any]) -> None:
        """The load is over, and this is what it brought."""
        self.done, self._value, self._error = True, value, None
        self.give(value, read)

    def fail(self, error: BaseException) -> None:
        """The load is over, and this is why it brought nothing."""
        if not self.done:
            self.done, self._value, self._error = True, None, error
        self.refuse(error)

    def give(self, value: Any, read: Callable[[Any], Any]) -> None:
        """Let go those who wait now: the first with this very object, the others with what `read` makes of it."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(value)
                try:
                    value = read(value)
                except Exception:
                    # what cannot be copied is shared, as the loader has already said
                    read = same

    def refuse(self, error: BaseException) -> None:
        """Let go those who wait now, with this error."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)


def start(run: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task for a load; where Python can, its first step is done at once, and often there is no second."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(run, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(run)


def reader(value: Any, options: EffectiveOptions) -> Copier:
    """What makes the next waiter's value of the last one's."""
    return (copier(value) or same) if options.copy_on_hit else same


def same(value: Any) -> Any:
    """The value itself."""
    return value
