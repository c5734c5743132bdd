"""A worker process: reads, writes and subscribes through one cache, and notes what it sees.

Driven by lines on its standard input, as `tests.faults.worker` is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import defaultdict
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import monotonic

import msgspec

from async_hybrid_cache import (
    AsyncHybridCache,
    BarrierTimeout,
    CacheOptions,
    Delivery,
    FileCheckpointStore,
    Gap,
    KeysRemoved,
    LogUnavailable,
    Receipt,
    ScopeCleared,
    StreamOptions,
)
from async_hybrid_cache.bus import InvalidationBus
from async_hybrid_cache.positions import Position
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.versions import Versions
from tests.faults.worker import say, serve
from tests.simulation.mutations import MUTATIONS

from .history import Barred, Counted, Paused, Read, Recorder, Served, Told, Wrote
from .setup import BOUNDS, KEYS, WORKERS, Setup, focus, marker_of, scope_of

_READERS = 3
_READ_EVERY_SECONDS = 0.01
_WRITE_EVERY_SECONDS = 0.06
_COUNT_EVERY_SECONDS = 0.25
_TICK_SECONDS = 0.05
_PAUSE_SECONDS = 0.2
_LOAD_SECONDS = 0.03
_BARRIER_SHARE = 0.1
_AT_LEAST_SHARE = 0.1
_RACE_SHARE = 0.5
_VERBS = {"remove": 70, "set": 14, "invalidating": 14, "clear": 2}


class Actor:
    """The load of one worker, from `go` to `rest`."""

    def __init__(
        self, setup: Setup, cache: AsyncHybridCache, versions: Versions, tokens: Versions, recorder: Recorder
    ) -> None:
        self._worker = setup.worker
        self._cache = cache
        self._versions = versions
        self._tokens = tokens
        self._note = recorder.note
        self._rng = random.Random(f"{setup.seed}/{setup.worker}/{setup.life}")
        self._own = range(setup.worker, KEYS, WORKERS)
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._resting = asyncio.Event()
        self._load: list[asyncio.Task[None]] = []
        self._barrier: asyncio.Task[None] | None = None

    async def go(self) -> None:
        """Begin."""
        work = [self._tick(), self._write_on(focused=True), self._write_on(focused=False)]
        self._load = [asyncio.create_task(each) for each in [*work, *(self._read_on() for _ in range(_READERS))]]

    async def rest(self) -> None:
        """End, and return once nothing waits any more, or after 15 s."""
        self._resting.set()
        await asyncio.gather(*self._load)
        with contextlib.suppress(AssertionError):  # what is missing then is for the checker
            await eventually(self._idle, timeout=15.0)

    async def look(self) -> None:
        """Read every key once more."""
        await asyncio.gather(*(self._read(key) for key in range(KEYS)))
        self._count()

    def _idle(self) -> bool:
        stats = self._cache.stats()
        return stats.stream is not None and not stats.stream.outbox and not stats.distributed.late_deletes

    async def _tick(self) -> None:
        counted, last = 0.0, monotonic()
        while not self._resting.is_set():
            await asyncio.sleep(_TICK_SECONDS)
            now = monotonic()
            if now - last > _TICK_SECONDS + _PAUSE_SECONDS:
                self._note(Paused(now, now - last))
            last = now
            if now - counted > _COUNT_EVERY_SECONDS:
                counted = now
                self._count()

    def _count(self) -> None:
        stats = self._cache.stats()
        assert stats.stream is not None
        counters = {
            "resets": stats.resets,
            "fenced": stats.fenced + stats.fills_fenced,
            "refused": stats.distributed.fills_refused,
            "replayed": stats.stream.events_replayed,
        }
        self._note(Counted(monotonic(), counters))

    # -- reads -----------------------------------------------------------------------------------------------

    async def _read_on(self) -> None:
        while not self._resting.is_set():
            await asyncio.sleep(self._rng.random() * 2 * _READ_EVERY_SECONDS)
            key = focus(self._rng.randrange(WORKERS)) if self._rng.random() < 0.5 else self._rng.randrange(KEYS)
            await self._read(key, positioned=self._rng.random() < _AT_LEAST_SHARE)

    async def _read(self, key: int, *, positioned: bool = False) -> None:
        owed, at_least = -1, None
        if positioned and self._versions.announced[key]:
            # in this order, against that of the writer: the position is never older than the version
            owed = self._versions.announced[key]
            offset = self._tokens.announced[key]
            at_least = Position(self._tokens.current[key], offset)
        version, error, began = -1, None, monotonic()
        try:
            version = await self._cache.get_or_set(
                str(key), partial(self._query, key), scope=scope_of(key), at_least=at_least
            )
        except Exception as raised:
            error = repr(raised)
        self._note(Read(began, monotonic(), key, version, owed, error))

    async def _query(self, key: int) -> int:
        version = self._versions.current[key]
        await asyncio.sleep(self._rng.random() * _LOAD_SECONDS)
        return version

    # -- writes ----------------------------------------------------------------------------------------------

    async def _write_on(self, *, focused: bool) -> None:
        while not self._resting.is_set():
            await asyncio.sleep(self._rng.random() * 2 * _WRITE_EVERY_SECONDS * (1 if focused else 4))
            key = focus(self._worker) if focused else self._rng.choice(self._own)
            (verb,) = self._rng.choices(list(_VERBS), list(_VERBS.values()))
            async with self._locks[key]:
                await self._write(key, verb)
                if focused and self._rng.random() < _RACE_SHARE:
                    await self._race(key)

    async def _race(self, key: int) -> None:
        """A removal while what was just removed is loaded again."""
        loading = asyncio.create_task(self._read(key))
        await asyncio.sleep(self._rng.random() * _LOAD_SECONDS)
        await self._write(key, "remove")
        await loading
        await self._read(key)

    async def _write(self, key: int, verb: str) -> None:
        receipt, error, began = None, None, monotonic()
        version = self._versions.current[key] + 1
        try:
            receipt = await self._change(key, version, verb)
        except Exception as raised:
            error = repr(raised)
        position = receipt.position if receipt is not None else None
        self._note(Wrote(began, monotonic(), key, version, verb, position, error))
        if position is not None:
            self._tokens.current[key], self._tokens.announced[key] = position
            self._versions.announced[key] = version
            if self._rng.random() < _BARRIER_SHARE and (self._barrier is None or self._barrier.done()):
                self._barrier = asyncio.create_task(self._bar(key, version, position))

    async def _change(self, key: int, version: int, verb: str) -> Receipt | None:
        name, scope, marker = str(key), scope_of(key), marker_of(key, version)
        if verb == "invalidating":
            async with self._cache.invalidating(name, marker, scope=scope):
                await self._commit(key, version)
            return None
        await self._commit(key, version)
        match verb:
            case "set":
                return await self._cache.set(name, version, scope=scope)
            case "clear":
                return await self._cache.clear(scope=scope)
            case _:
                return await self._cache.remove(name, marker, scope=scope)

    async def _commit(self, key: int, version: int) -> None:
        self._versions.current[key] = version
        await asyncio.sleep(0)

    async def _bar(self, key: int, version: int, position: Position) -> None:
        with contextlib.suppress(BarrierTimeout, LogUnavailable):
            await self._cache.barrier(position)
            self._note(Barred(monotonic(), key, version))

    # -- what is told ----------------------------------------------------------------------------------------

    async def hear(self, delivery: Delivery) -> None:
        """The handler of the subscription."""
        match delivery.event:
            case KeysRemoved(scope=scope, keys=keys):
                told = Told(monotonic(), delivery.position, scope, keys)
            case ScopeCleared(scope=scope):
                told = Told(monotonic(), delivery.position, scope, ())
            case Gap(reason=reason):
                told = Told(monotonic(), delivery.position, None, (), reason)
            case _:
                told = Told(monotonic(), delivery.position, None, ())
        self._note(told)


def new_parts(setup: Setup) -> tuple[AsyncHybridCache, InvalidationBus]:
    """The cache at shipped defaults, with everything that is kept over restarts; and a bus to subscribe on."""
    folder, name = Path(setup.folder), f"worker-{setup.worker}"
    store = FileCheckpointStore(folder / "checkpoints")
    stream = StreamOptions(instance_id=name, checkpoints=store, outbox=folder / f"outbox-{setup.worker}")
    snapshot = folder / f"snapshot-{setup.worker}"
    broker = find_broker(setup.log)
    if setup.log == setup.l2:
        cache = AsyncHybridCache.from_url(
            setup.log, namespace=setup.namespace, stream=stream, snapshot=snapshot, snapshot_seconds=3.0
        )
    else:
        cache = AsyncHybridCache(
            distributed_cache=find_broker(setup.l2).distributed_cache(setup.l2, namespace=setup.namespace),
            invalidation_bus=broker.bus(setup.log, namespace=setup.namespace, stream=stream),
            snapshot=snapshot,
            snapshot_seconds=3.0,
        )
    for scope, seconds in BOUNDS.items():
        cache.scope(scope, options=CacheOptions(max_staleness_seconds=seconds))
    told = StreamOptions(instance_id=name, checkpoints=store)
    return cache, broker.bus(setup.log, namespace=setup.namespace, stream=told)


async def main(setup: Setup) -> None:
    began, folder = monotonic(), Path(setup.folder)
    recorder = Recorder(folder / f"history-{setup.worker}-{setup.life:03}")
    async with AsyncExitStack() as stack:
        if setup.without is not None:
            (mutation,) = (each for each in MUTATIONS if each.name == setup.without)
            stack.enter_context(mutation.applied())
        versions = stack.enter_context(Versions(folder / "versions", KEYS))
        tokens = stack.enter_context(Versions(folder / "tokens", KEYS))
        cache, bus = new_parts(setup)
        actor = Actor(setup, cache, versions, tokens, recorder)
        subscription = await stack.enter_async_context(bus.subscribe("history", actor.hear, per="instance"))
        await stack.enter_async_context(cache)
        recorder.note(Served(began, monotonic()))
        # one that has no place yet, since something was away, begins at the end that the log then has
        await eventually(lambda: subscription.stats().position is not None, timeout=30.0)
        say(("ready", None))
        await serve(actor)


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Setup)))
