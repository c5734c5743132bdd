"""remove() called at A -> gone at B, two processes; and appends that leave together."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.positions import Position
from async_hybrid_cache_codecs.events import KeysRemoved

from .measure import percentile

__all__ = ["elsewhere", "latency", "publishing", "timed"]

_ROUNDS = 400


async def latency(name: str, url: str, raw: tuple[float, float] | None = None) -> None:
    """Milliseconds from the call of `remove` in one process to the entry's end in another; `raw` is the bound."""
    taken: list[float] = []
    own: list[float] = []
    async with AsyncHybridCache.from_url(url, require_bus=True) as cache, elsewhere(url) as heard:
        for number in range(_ROUNDS):
            gone, returned = await timed(cache, heard, f"key:{number}")
            taken.append(gone)
            own.append(returned)
    print(
        f"  {name:<12} gone elsewhere p50 {percentile(taken, 0.5):6.2f} ms, p99 {percentile(taken, 0.99):6.2f} ms; "
        f"remove() itself p50 {percentile(own, 0.5):6.2f} ms"
        + (f"; the client alone p50 {raw[0]:.2f} ms: {percentile(taken, 0.5) / raw[0]:.2f}x" if raw else "")
    )


async def timed(cache: AsyncHybridCache, heard: Connection, key: str) -> tuple[float, float]:
    """Milliseconds from the call of `remove` until `key` is gone at who `heard` of it, and until the call returns."""
    begun = time.monotonic_ns()
    await cache.remove(key, scope="bench")
    returned = time.monotonic_ns()
    gone: int = await asyncio.get_running_loop().run_in_executor(None, heard.recv)
    return (gone - begun) / 1e6, (returned - begun) / 1e6


@asynccontextmanager
async def elsewhere(url: str, namespace: str = "ahc") -> AsyncIterator[Connection]:
    """Another process that follows the log, and sends the moment of each removal that it applies."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    other = context.Process(target=_listen, args=(url, namespace, there), daemon=True)
    other.start()
    assert await asyncio.get_running_loop().run_in_executor(None, here.recv) == "ready"
    yield here
    here.send("end")
    other.join(10)


def _listen(url: str, namespace: str, pipe: Connection) -> None:
    asyncio.run(_follow(url, namespace, pipe))


async def _follow(url: str, namespace: str, pipe: Connection) -> None:
    cache = AsyncHybridCache.from_url(url, namespace=namespace, require_bus=True)
    apply = cache._scopes.apply
    told: set[tuple[Position, tuple[str, ...]]] = set()

    def noting(event: Any, position: Position) -> None:
        apply(event, position)
        # let go before its record is known to follow, and applied then
        if isinstance(event, KeysRemoved) and (position, event.keys) not in told:
            told.add((position, event.keys))
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
