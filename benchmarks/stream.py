"""remove() called at A -> gone at B, two processes; and appends that leave together."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache_codecs.events import KeysRemoved

from .measure import percentile

__all__ = ["latency", "publishing"]

_ROUNDS = 400


async def latency(name: str, url: str, raw: tuple[float, float] | None = None) -> None:
    """Milliseconds from the call of `remove` in one process to the entry's end in another; `raw` is the bound."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    other = context.Process(target=_listen, args=(url, there), daemon=True)
    other.start()
    loop = asyncio.get_running_loop()
    cache = AsyncHybridCache.from_url(url, require_bus=True)
    async with cache:
        assert await loop.run_in_executor(None, here.recv) == "ready"
        taken: list[float] = []
        own: list[float] = []
        for number in range(_ROUNDS):
            begun = time.monotonic_ns()
            await cache.remove(f"key:{number}", scope="bench")
            own.append((time.monotonic_ns() - begun) / 1e6)
            gone = await loop.run_in_executor(None, here.recv)
            taken.append((gone - begun) / 1e6)
        here.send("end")
    other.join(10)
    print(
        f"  {name:<12} gone elsewhere p50 {percentile(taken, 0.5):6.2f} ms, p99 {percentile(taken, 0.99):6.2f} ms; "
        f"remove() itself p50 {percentile(own, 0.5):6.2f} ms"
        + (f"; the client alone p50 {raw[0]:.2f} ms: {percentile(taken, 0.5) / raw[0]:.2f}x" if raw else "")
    )


def _listen(url: str, pipe: Connection) -> None:
    asyncio.run(_follow(url, pipe))


async def _follow(url: str, pipe: Connection) -> None:
    cache = AsyncHybridCache.from_url(url, require_bus=True)
    apply = cache._scopes.apply

    def noting(event: Any, position: Any) -> None:
        apply(event, position)
        if isinstance(event, KeysRemoved):
            pipe.send(time.monotonic_ns())

    cache._scopes.apply = noting  # type: ignore[method-assign]
    async with cache:
        pipe.send("ready")
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)


async def publishing(name: str, url: str, raw: float | None = None) -> None:
    """remove() a second, 200 callers at once; `raw` is what to compare it with."""
    async with AsyncHybridCache.from_url(url, require_bus=True) as cache:
        begun = time.perf_counter()
        rounds = 20
        for turn in range(rounds):
            await asyncio.gather(*(cache.remove(f"key:{turn}:{number}", scope="bench") for number in range(200)))
        rate = rounds * 200 / (time.perf_counter() - begun)
        pair = f"; the client alone {raw:,.0f}/s: {rate / raw:.1f}x" if raw else ""
        print(f"  {name:<12} {rate:10,.0f} remove()/s, acknowledged, 200 callers at once{pair}")
