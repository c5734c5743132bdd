"""Calls of a driver that end in time, and fail with an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .cancellation import was_cancelled
from .errors import CacheError, LogUnavailable

__all__ = ["bounded"]

T = TypeVar("T")


async def bounded(
    call: Awaitable[T], seconds: float, failure: Callable[[str], CacheError] = LogUnavailable, who: str = "the log"
) -> T:
    """`call`, or `failure` after `seconds`: a stalled connection never fails by itself."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError as error:
        raise failure(f"{who} did not answer within {seconds:g} s") from error
    except asyncio.CancelledError as error:
        if was_cancelled():
            raise
        raise failure(f"a call of {who} was cancelled from within") from error
