"""Delete and append in one step against the same in two: side by side, on one server, in turns."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from statistics import mean, median
from typing import NamedTuple
from urllib.parse import urlsplit

from redis.asyncio import Redis

from async_hybrid_cache import AsyncHybridCache, RedisDistributedCache, RedisStreamsInvalidationBus

from .measure import percentile
from .stream import elsewhere, timed

__all__ = ["joint"]

_ROUNDS = 1_000
_BURSTS = 40
_CALLERS = 200


class _Subject(NamedTuple):
    """A cache, who hears of its removals, and what was measured: milliseconds, and scripts that the server ran."""

    cache: AsyncHybridCache
    heard: Connection
    gone: list[float]
    returned: list[float]
    bursts: list[float]
    single_scripts: list[int]
    burst_scripts: list[int]


async def joint(url: str) -> None:
    """What `remove` costs on the Redis at `url`, with L2 in the log's database and in another one of that server."""
    async with AsyncExitStack() as stack:
        redis = Redis.from_url(url)
        stack.push_async_callback(redis.aclose)
        database = int(urlsplit(url).path.strip("/") or 0)
        beside = urlsplit(url)._replace(path=f"/{database + 1}").geturl()
        subjects: list[_Subject] = []
        for namespace, l2 in (("bench-one", url), ("bench-two", beside)):
            values = Redis.from_url(l2)
            cache = AsyncHybridCache(
                distributed_cache=RedisDistributedCache(values, prefix=namespace),
                invalidation_bus=RedisStreamsInvalidationBus(redis, stream_key=f"{namespace}:invalidation"),
                require_bus=True,
            )
            await stack.enter_async_context(cache)
            heard = await stack.enter_async_context(elsewhere(url, namespace))
            subjects.append(_Subject(cache, heard, [], [], [], [], []))
        for turn in range(_ROUNDS):
            for subject in _in_turn(subjects, turn):
                before = await _scripts(redis)
                gone, returned = await timed(subject.cache, subject.heard, f"key:{turn}")
                subject.gone.append(gone)
                subject.returned.append(returned)
                subject.single_scripts.append(await _scripts(redis) - before)
        for turn in range(_BURSTS):
            for subject in _in_turn(subjects, turn):
                before = await _scripts(redis)
                subject.bursts.append(await _burst(subject, turn))
                subject.burst_scripts.append(await _scripts(redis) - before)
    print("\nremove() on one Redis, L2 and log in one step | in two | ratio")
    one, two = subjects
    for title, share in (("p50", 0.5), ("p99", 0.99)):
        _tell(f"gone elsewhere, {title}, ms", percentile(one.gone, share), percentile(two.gone, share))
    for title, share in (("p50", 0.5), ("p99", 0.99)):
        _tell(f"the call itself, {title}, ms", percentile(one.returned, share), percentile(two.returned, share))
    _tell("scripts, one remove()", mean(one.single_scripts), mean(two.single_scripts))
    rates = [_CALLERS * 1e3 / median(subject.bursts) for subject in subjects]
    _tell(f"remove()/s, {_CALLERS} callers at once", *rates)
    _tell(f"scripts, {_CALLERS} remove() at once", mean(one.burst_scripts), mean(two.burst_scripts))


def _tell(title: str, one: float, two: float) -> None:
    print(f"  {title:<36}{one:>12,.2f}{two:>12,.2f}{one / two:>8.2f}x")


def _in_turn(subjects: list[_Subject], turn: int) -> list[_Subject]:
    return subjects if turn % 2 else subjects[::-1]


async def _burst(subject: _Subject, turn: int) -> float:
    begun = time.perf_counter()
    removals = (subject.cache.remove(f"key:{turn}:{number}", scope="bench") for number in range(_CALLERS))
    await asyncio.gather(*removals)
    taken = (time.perf_counter() - begun) * 1e3
    for _ in range(_CALLERS):
        await asyncio.get_running_loop().run_in_executor(None, subject.heard.recv)
    return taken


async def _scripts(redis: Redis) -> int:
    """How many it has run, which is what deletes and appends are sent as."""
    calls: int = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    return calls
