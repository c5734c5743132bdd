"""What tests of every kind share."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar, overload

__all__ = ["eventually"]

T = TypeVar("T")


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]],
    *,
    timeout: float = ...,
    message: str = ...,
    poll_seconds: float = ...,
) -> T: ...
@overload
async def eventually(
    predicate: Callable[[], T], *, timeout: float = ..., message: str = ..., poll_seconds: float = ...
) -> T: ...
async def eventually(
    predicate: Callable[[], Any], *, timeout: float = 5.0, message: str = "", poll_seconds: float = 0.005
) -> Any:
    """The first true result of `predicate`, a function or a coroutine function.

    Asked again every `poll_seconds`. After `timeout` seconds an `AssertionError` with `message` and the last
    result; what `predicate` raises goes to the caller at once.
    """
    deadline = monotonic() + timeout
    while True:
        result = predicate()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        if monotonic() > deadline:
            raise AssertionError(f"{message or 'it did not happen'} within {timeout} s; at last: {result!r}")
        await asyncio.sleep(poll_seconds)
