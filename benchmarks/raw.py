"""The bound that a stream on Redis can be held to: one XADD seen by a blocked XREAD in another process."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

from redis.asyncio import Redis

from .measure import percentile

__all__ = ["xadd_to_xread", "xadds"]

_STREAM = "bench:raw"
_ROUNDS = 400


async def xadd_to_xread(url: str) -> tuple[float, float]:
    """Milliseconds from the call of XADD to the answer of the other process's XREAD: p50, p99."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    other = context.Process(target=_listen, args=(url, there), daemon=True)
    other.start()
    loop = asyncio.get_running_loop()
    redis = Redis.from_url(url)
    await loop.run_in_executor(None, here.recv)
    taken: list[float] = []
    for _ in range(_ROUNDS):
        begun = time.monotonic_ns()
        await redis.xadd(_STREAM, {"d": b"x" * 80})
        taken.append((await loop.run_in_executor(None, here.recv) - begun) / 1e6)
    other.join(10)
    await redis.aclose()
    return percentile(taken, 0.5), percentile(taken, 0.99)


async def xadds(url: str) -> float:
    """XADD a second, 200 callers at once on one client."""
    redis = Redis.from_url(url, max_connections=200)
    rounds = 10
    begun = time.perf_counter()
    for _ in range(rounds):
        await asyncio.gather(*(redis.xadd(_STREAM, {"d": b"x" * 80}) for _ in range(200)))
    rate = rounds * 200 / (time.perf_counter() - begun)
    await redis.aclose()
    return rate


def _listen(url: str, pipe: Connection) -> None:
    asyncio.run(_follow(url, pipe))


async def _follow(url: str, pipe: Connection) -> None:
    redis = Redis.from_url(url)
    last: Any = "0-0"
    pipe.send("ready")
    for _ in range(_ROUNDS):
        answer: Any = await redis.xread({_STREAM: last}, block=4000)
        pipe.send(time.monotonic_ns())
        stream = answer[0] if isinstance(answer, list) else next(iter(answer.items()))
        entries = stream[1][0] if isinstance(stream[1][0], list) else stream[1]
        last = entries[-1][0]
    await redis.aclose()
