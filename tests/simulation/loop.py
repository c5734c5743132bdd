"""An event loop whose time is virtual: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import itertools
from asyncio.events import TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from heapq import heappop, heappush
from typing import Any

from .process import PROCESS, Process

__all__ = ["Stuck", "VirtualClock", "VirtualLoop", "run_virtual"]


_THE_DAY = 1.8e9


class Stuck(Exception):
    """Nothing is ready and no timer is set: everybody waits for somebody else."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Deterministic: no sockets, no threads, no real time. `after_step` runs after every turn of the loop."""

    _ready: deque[asyncio.Handle]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._number = itertools.count()
        self._frozen: dict[Process, list[asyncio.Handle]] = {}
        self.after_step: Callable[[], None] | None = None

    def time(self) -> float:
        return self._now

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> TimerHandle:
        handle = TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._number), handle))
        return handle

    def freeze(self, process: Process) -> None:
        """SIGSTOP: its tasks and timers stand still, while the clocks go on."""
        self._frozen.setdefault(process, [])

    def thaw(self, process: Process) -> None:
        """SIGCONT: what was due meanwhile is due now."""
        self._ready.extend(self._frozen.pop(process, ()))

    def frozen(self, process: Process) -> bool:
        """Whether `process` stands still."""
        return process in self._frozen

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        process = PROCESS.get()
        assert process is not None, "a thread outside of every process"
        return process.in_thread(self, partial(func, *args))

    def _timer_handle_cancelled(self, handle: TimerHandle) -> None:
        pass

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        raise RuntimeError("a thread reached into the simulation")

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not timers:
                raise Stuck(f"at {self._now:.6f} s nothing is ready and no timer is set")
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle.cancelled():
                continue
            if self._frozen:
                held = self._frozen.get(handle._context.get(PROCESS))  # type: ignore[attr-defined]
                if held is not None:
                    held.append(handle)
                    continue
            handle._run()
        if self.after_step is not None:
            self.after_step()


class VirtualClock:
    """The same time for the cache, counted from elsewhere; `wall` is how wrong the clock on the wall is, in seconds."""

    def __init__(self, loop: VirtualLoop, began: float = 0.0, wall: float = 0.0) -> None:
        self._time = loop.time
        self._began = began
        self.wall = wall

    def monotonic(self) -> float:
        return self._time() + self._began

    def time_ns(self) -> int:
        return int((self._time() + self.wall + _THE_DAY) * 1e9)


def run_virtual(main: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run `main` in a loop of its own."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main(loop))
    finally:
        loop.after_step = None
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        asyncio.set_event_loop(None)
        loop.close()
