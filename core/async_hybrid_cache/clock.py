"""Time, as the rest of the program sees it."""

from __future__ import annotations

import sys
import time
from typing import Protocol

__all__ = ["NEVER", "Clock", "SystemClock"]

NEVER = -sys.float_info.max
"""A monotonic time before every other; finite, so that infinity may be added to it."""


class Clock(Protocol):
    """Two readings. Waiting is left to the event loop, whose own clock a simulation replaces as well."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def time_ns(self) -> int:
        """Unix nanoseconds; for people and metrics only, never for order."""
        ...


class SystemClock:
    """The clocks of the machine."""

    monotonic = staticmethod(time.monotonic)
    time_ns = staticmethod(time.time_ns)
