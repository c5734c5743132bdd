"""A clock that only the test moves."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """Both readings of a `Clock`, moved by `advance`."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def advance(self, seconds: float) -> None:
        self.now += seconds
