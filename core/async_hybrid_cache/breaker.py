"""A circuit breaker: after a failure nobody waits for the same server again until it is known to answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .clock import Clock

__all__ = ["Breaker"]

logger = logging.getLogger("async_hybrid_cache")


class Breaker:
    """Closed while calls succeed; open from the first failure on, until `close` (Nygard, "Release It!").

    One failure is enough, because a caller of a cache would rather load than wait; probing is left to a
    background task, so that no caller pays for it either.
    """

    __slots__ = ("_clock", "_name", "last_error", "listeners", "open_since", "opened")

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self.open_since: float | None = None
        self.opened = 0
        self.last_error: BaseException | None = None
        self.listeners: set[Callable[[], object]] = set()
        """Called when it opens."""

    @property
    def is_open(self) -> bool:
        """Whether calls are not to be tried."""
        return self.open_since is not None

    @property
    def seconds_open(self) -> float | None:
        """For how long calls have not been tried; None while they are."""
        return None if self.open_since is None else self._clock.monotonic() - self.open_since

    def trip(self, error: BaseException) -> None:
        """A call failed."""
        self.last_error = error
        if self.open_since is None:
            self.open_since = self._clock.monotonic()
            self.opened += 1
            logger.warning("%s does not answer (%s); reads go past it until it does", self._name, error)
            for listener in list(self.listeners):
                listener()

    def close(self) -> None:
        """A call succeeded."""
        if self.open_since is not None:
            logger.info("%s answers again after %.1f s", self._name, self._clock.monotonic() - self.open_since)
            self.open_since = None
