"""Keeping the stream alive: sessions that end in an error are begun again, and everybody can see since when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ..cancellation import was_cancelled
from ..errors import CacheError, LogUnavailable

if TYPE_CHECKING:
    from .stream import InvalidationStream

__all__ = ["Link", "supervise"]

logger = logging.getLogger("async_hybrid_cache")

T = TypeVar("T")

_FIRST_RETRY_SECONDS = 0.05


class Link:
    """The connection that reader and writer share: open or not, and what is wrong with it since when."""

    def __init__(self, stream: InvalidationStream) -> None:
        self._stream = stream
        self._lock = asyncio.Lock()
        self._open = False
        self._failed: asyncio.Future[BaseException] | None = None
        self.troubles: dict[str, tuple[float, BaseException]] = {}
        self.reconnects = 0

    @property
    def down_since(self) -> float | None:
        """The monotonic time since when reader or writer is failing; None while both work."""
        return min((since for name, (since, _) in self.troubles.items() if name != "checkpoint"), default=None)

    def expect_failure(self) -> asyncio.Future[BaseException]:
        """A future for the first thing that goes wrong from now on."""
        self._failed = asyncio.get_running_loop().create_future()
        return self._failed

    async def ensure_open(self) -> None:
        """Open the log unless it is; one at a time, in bounded time."""
        async with self._lock:
            if not self._open:
                await self.bounded(self._stream.log.open(), self._stream.options.call_timeout_seconds)
                self._open = True

    async def bounded(self, call: Awaitable[T], seconds: float) -> T:
        """`call`, or `LogUnavailable` after `seconds`: a stalled connection never fails by itself."""
        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError as error:
            raise LogUnavailable(f"the log did not answer within {seconds:g} s") from error
        except asyncio.CancelledError as error:
            if was_cancelled():
                raise
            raise LogUnavailable("a call of the log was cancelled from within") from error

    async def close(self, seconds: float) -> None:
        """Close the log in bounded time."""
        try:
            async with asyncio.timeout(seconds):
                await self._stream.log.close()
        except Exception as error:
            logger.warning("the log did not close in good order: %s", error)
        self._open = False

    def note(self, name: str, error: BaseException) -> None:
        """Something of the stream failed: count it, and log it where that is news."""
        self._open = self._open and name == "checkpoint"
        if name not in self.troubles:
            self.troubles[name] = self._stream.clock.monotonic(), error
            logger.warning("invalidation %s: %s; trying again", name, _tell(error))
        else:
            self.troubles[name] = self.troubles[name][0], error
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)
        if name == "writer":
            self._stream.outbox.away()

    def clear(self, name: str) -> None:
        """What failed works again."""
        if trouble := self.troubles.pop(name, None):
            self.reconnects += 1
            since = self._stream.clock.monotonic() - trouble[0]
            logger.info("invalidation %s: works again after %.1f s", name, since)


async def supervise(stream: InvalidationStream, name: str, session: Callable[[], Awaitable[None]]) -> None:
    """Run `session` for ever, with capped backoff and full jitter (Brooker, "Exponential Backoff and Jitter")."""
    attempt = 0
    while True:
        try:
            await stream.link.ensure_open()
            await session()
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            attempt = 0 if name not in stream.link.troubles else attempt + 1
            stream.link.note(name, error)
            if not isinstance(error, CacheError):
                logger.exception("invalidation %s: unexpected error", name)
            ceiling = min(stream.options.retry_max_seconds, _FIRST_RETRY_SECONDS * 2.0 ** min(attempt, 16))
            await asyncio.sleep(ceiling * (0.5 + stream.rng.random() / 2))


def _tell(error: BaseException) -> str:
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
    return f"{error or type(error).__name__}{cause}"
