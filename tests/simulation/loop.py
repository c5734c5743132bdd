"""An event loop whose time is virtual: it jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Stuck", "VirtualClock", "VirtualLoop", "run_virtual"]


_THE_DAY = 1.8e9


class Stuck(Exception):
    """Nothing is ready and no timer is set: everybody waits for somebody else."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Deterministic: no sockets, no threads, no real time. `after_step` runs after every turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = self
        self.after_step: Callable[[], None] | None = None

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """What the base class calls to wait."""
        if timeout is None:
            raise Stuck(f"at {self._now:.6f} s nothing is ready and no timer is set")
        self._now += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        raise RuntimeError("a thread reached into the simulation")

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
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
