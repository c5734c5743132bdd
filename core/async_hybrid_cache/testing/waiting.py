"""What tests of every kind share."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar, overload

__all__ = ["cancelled_somewhere", "eventually"]

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


async def cancelled_somewhere(call: Coroutine[Any, Any, Any], rng: random.Random) -> Any:
    """Cancel `call` after a random number of turns or microseconds; its result where it was quicker."""
    task = asyncio.create_task(call)
    if rng.random() < 0.5:
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(rng.random() * 0.002)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None
