"""Keeping a reader or a writer alive: what ends in an error is begun again, and everybody can see since when."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from ..bounded import bounded
from ..cancellation import was_cancelled
from ..clock import Clock
from ..errors import CacheError
from ..log import EventLog

if TYPE_CHECKING:
    from ..bus import StreamOptions

__all__ = ["Link", "Tasks", "supervise"]

logger = logging.getLogger("async_hybrid_cache")

_FIRST_RETRY_SECONDS = 0.05
_NOT_THE_LOGS = frozenset({"L2", "checkpoint", "handler", "outbox", "owner"})


class Link:
    """The connection to a log that several parts share: open or not, and what is wrong with them since when.

    `label` is how logging names the whole; `on_trouble` is told which part failed.
    """

    def __init__(
        self,
        log: EventLog,
        options: StreamOptions,
        clock: Clock,
        rng: random.Random,
        *,
        label: str,
        on_trouble: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.label = label
        self._log = log
        self._options = options
        self._clock = clock
        self._rng = rng
        self._on_trouble = on_trouble
        self._lock = asyncio.Lock()
        self._open = False
        self._failed: asyncio.Future[BaseException] | None = None
        self.troubles: dict[str, tuple[float, BaseException]] = {}
        self.reconnects = 0

    @property
    def down_since(self) -> float | None:
        """The monotonic time since when reader or writer is failing; None while both work."""
        return min((since for name, (since, _) in self.troubles.items() if name not in _NOT_THE_LOGS), default=None)

    def expect_failure(self) -> asyncio.Future[BaseException]:
        """A future for the first thing that goes wrong from now on."""
        self._failed = asyncio.get_running_loop().create_future()
        return self._failed

    async def ensure_open(self) -> None:
        """Open the log unless it is; one at a time, in bounded time."""
        async with self._lock:
            if not self._open:
                await bounded(self._log.open(), self._options.call_timeout_seconds)
                self._open = True

    async def close(self, seconds: float) -> None:
        """Close the log in bounded time."""
        try:
            async with asyncio.timeout(seconds):
                await self._log.close()
        except Exception as error:
            logger.warning("the log did not close in good order: %s", error)
        self._open = False

    def note(self, name: str, error: BaseException) -> None:
        """A part failed: count it, and log it where that is news."""
        self._open = self._open and name in _NOT_THE_LOGS
        if name not in self.troubles:
            self.troubles[name] = self._clock.monotonic(), error
            logger.warning("%s %s: %s; trying again", self.label, name, _tell(error))
        else:
            self.troubles[name] = self.troubles[name][0], error
        if self._failed is not None and not self._failed.done() and name != "outbox":
            self._failed.set_result(error)
        self._on_trouble(name)

    def clear(self, name: str) -> None:
        """What failed works again."""
        if trouble := self.troubles.pop(name, None):
            self.reconnects += 1
            since = self._clock.monotonic() - trouble[0]
            logger.info("%s %s: works again after %.1f s", self.label, name, since)

    async def pause(self, attempt: int, most: float | None = None) -> None:
        """Wait before another attempt, `retry_max_seconds` or `most` at most, with jitter.

        See Brooker, "Exponential Backoff and Jitter" (2015).
        """
        ceiling = min(most or self._options.retry_max_seconds, _FIRST_RETRY_SECONDS * 2.0 ** min(attempt, 16))
        await asyncio.sleep(ceiling * (0.5 + self._rng.random() / 2))


async def supervise(link: Link, name: str, session: Callable[[], Awaitable[None]]) -> None:
    """Run `session` on the open log for ever."""
    attempt = 0
    while True:
        try:
            await link.ensure_open()
            await session()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            attempt = 0 if name not in link.troubles else attempt + 1
            link.note(name, error)
            if not isinstance(error, CacheError):
                logger.exception("%s %s: unexpected error", link.label, name)
            await link.pause(attempt)


class Tasks:
    """Tasks that run until they are stopped here; one that ends otherwise shows as a trouble and is begun again."""

    def __init__(self, link: Link, retry_seconds: float) -> None:
        self._link = link
        self._retry_seconds = retry_seconds
        self._running: dict[str, asyncio.Task[Any]] = {}

    def start(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Begin `work`, for ever."""
        task = asyncio.create_task(work(), name=f"async-hybrid-cache {name}")
        self._running[name] = task
        task.add_done_callback(partial(self._ended, name, work))

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Let all of them end; returns those that have to be waited for."""
        tasks = [task for task in self._running.values() if not task.get_loop().is_closed()]
        self._running.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def _ended(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]], task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if self._running.get(name) is not task:
            return
        self._link.note(name, error or RuntimeError("its task was ended by somebody else"))
        # only a task of this loop calls back, and so late that a loop which is being closed runs it no more
        task.get_loop().call_later(self._retry_seconds, self._begin_again, name, work, task)

    def _begin_again(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]], task: asyncio.Task[Any]) -> None:
        if self._running.get(name) is task:
            self.start(name, work)


def _tell(error: BaseException) -> str:
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
    return f"{error or type(error).__name__}{cause}"
