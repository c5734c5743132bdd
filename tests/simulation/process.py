"""A process: what can be frozen and killed as a whole; its threads, and the files that they work on."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any

from async_hybrid_cache.snapshot.frames import FrameWriter

__all__ = ["OUTSIDE", "PROCESS", "Process"]

PROCESS: ContextVar[Process | None] = ContextVar("simulated_process", default=None)
"""To whom the task or timer that runs now belongs; None for servers and for the run itself."""

OUTSIDE = Context()
"""Where servers run."""

_CALL_SECONDS = 0.004


class Process:
    """From its start to its end. A call that blocks is done in one go, some milliseconds after it was asked for."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._calls: dict[asyncio.Future[Any], Callable[[], Any]] = {}
        self._writers: list[FrameWriter] = []
        self._killed = False
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def in_thread(self, loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """The result of `call`, which blocks."""
        done = loop.create_future()
        if self._killed:
            done.cancel()
            return done
        self._calls[done] = call
        loop.call_later(self._rng.uniform(0, _CALL_SECONDS), self._do, done, context=self.context)
        return done

    def _do(self, done: asyncio.Future[Any]) -> None:
        # in the order in which they were asked for: who shuts a thread down waits for what it has to do
        while done in self._calls:
            self._do_first()

    def _do_first(self) -> None:
        done = next(iter(self._calls))
        call = self._calls.pop(done)
        owner = _owner(call)
        if isinstance(owner, FrameWriter) and owner not in self._writers:
            self._writers.append(owner)
        try:
            result = call()
        except Exception as error:
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(result)

    def kill(self) -> None:
        """Whatever was being written is torn."""
        self._killed = True
        calls, self._calls = self._calls, {}
        for done, call in calls.items():
            done.cancel()
            self._tear(call)
        for writer in self._writers:
            if writer._file is not None:
                with contextlib.suppress(ValueError):
                    writer._file.close()

    def _tear(self, call: Callable[[], Any]) -> None:
        slot = _owner(call)
        if isinstance(call, partial) and call.func == getattr(slot, "append", None) and slot._file is not None:
            data: bytes = call.args[0]
            slot.append(data[: self._rng.randrange(len(data) + 1)], sync=False)


def _owner(call: Callable[[], Any]) -> Any:
    while isinstance(call, partial):
        call = call.func
    return getattr(call, "__self__", None)
