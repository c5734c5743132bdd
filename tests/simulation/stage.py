"""Two instances whose every operation can be held at the very point where a schedule needs it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    DistributedCacheError,
    InvalidationBus,
    LogUnavailable,
    Receipt,
)
from async_hybrid_cache.positions import Position, Record

from .l2 import SharedStore, SimulatedCache
from .link import Link
from .log import SharedLog, SimulatedLog
from .loop import VirtualClock, VirtualLoop, run_virtual

__all__ = ["KEY", "SCOPE", "Actor", "Stage", "schedule"]

KEY, SCOPE = "k", "rows"


class _NoDelays(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return 0.0

    def random(self) -> float:
        return 0.999999


class Gate:
    """Closed, it holds whoever comes; `reached` tells that somebody did."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.reached = asyncio.Event()

    def close(self) -> None:
        self._open.clear()
        self.reached.clear()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        if not self._open.is_set():
            self.reached.set()
        await self._open.wait()


class _HeldLog(SimulatedLog):
    def __init__(self, log: SharedLog, link: Link) -> None:
        super().__init__(log, link, remembers=True)
        self.append_gate, self.read_gate, self.ack_gate = Gate(), Gate(), Gate()

    async def append(self, record: bytes, id: str) -> Position:
        await self.append_gate.pass_through()
        position = await super().append(record, id)
        await self.ack_gate.pass_through()
        return position

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        found = await super().read(start, limit, wait)
        await self.read_gate.pass_through()
        return found


class _HeldCache(SimulatedCache):
    def __init__(self, store: SharedStore, link: Link, rng: random.Random) -> None:
        super().__init__(store, link, rng)
        self.delete_gate, self.fill_gate = Gate(), Gate()
        self.next_delete_fails = False

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        await self.delete_gate.pass_through()
        if self.next_delete_fails:
            self.next_delete_fails = False
            raise DistributedCacheError("the delete failed")
        await super().delete(scope, keys)

    async def fill(self, *arguments: Any, **named: Any) -> bool:
        await self.fill_gate.pass_through()
        return await super().fill(*arguments, **named)


class Actor:
    """One instance."""

    def __init__(self, stage: Stage, number: int) -> None:
        rng = _NoDelays(number)
        self._stage = stage
        self.log = _HeldLog(stage.log, Link(rng, LogUnavailable))
        self.l2 = _HeldCache(stage.store, Link(rng, DistributedCacheError), rng)
        self.database_gate = Gate()
        self.cache = AsyncHybridCache(
            distributed_cache=self.l2,
            invalidation_bus=InvalidationBus(lambda: self.log),
            options=CacheOptions(ttl_seconds=600, hard_timeout_seconds=None),
            distributed_timeout_seconds=60,
            clock=VirtualClock(stage.loop),
            rng=random.Random(number),
        )

    def load(self, key: str = KEY) -> asyncio.Task[int]:
        """A caller that asks for `key`, from now on."""
        return asyncio.ensure_future(self.cache.get_or_set(key, self._read, scope=SCOPE))

    async def _read(self) -> int:
        value = self._stage.version
        await self.database_gate.pass_through()
        return value

    def remove(self, key: str = KEY) -> asyncio.Task[Receipt]:
        """A removal, from now on."""
        return asyncio.ensure_future(self.cache.remove(key, scope=SCOPE))

    def held(self) -> int | None:
        """The version in L1."""
        for scope in self.cache._scopes.find(SCOPE):
            entry = scope.store.entries.get(KEY)
            if entry is not None:
                return int(entry.value)
        return None

    async def evict(self) -> None:
        """The key leaves L1 as LRU eviction makes it leave: no load is fenced."""
        for scope in self.cache._scopes.find(SCOPE):
            scope.store.discard(KEY)


class Stage:
    """The two of them, with version 0 of the key in both L1 and in L2."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.version = 0
        self.log = SharedLog(loop.time, lambda id, data: None)
        self.store = SharedStore()

    async def begin(self) -> tuple[Actor, Actor]:
        self.actors = (Actor(self, 0), Actor(self, 1))
        for actor in self.actors:
            await actor.cache.start()
        for actor in self.actors:
            assert await actor.load() == 0
            await self.quiet()
        assert (SCOPE, KEY) in self.store.entries
        return self.actors

    async def quiet(self) -> None:
        """Let everything happen that nobody holds."""
        await asyncio.sleep(0.05)


def schedule(play: Callable[[Stage, Actor, Actor], Awaitable[None]]) -> Callable[[], None]:
    """A test that plays one schedule."""

    def test() -> None:
        async def main(loop: VirtualLoop) -> None:
            stage = Stage(loop)
            await play(stage, *await stage.begin())
            for actor in stage.actors:
                await actor.cache.stop()

        run_virtual(main)

    test.__doc__ = play.__doc__
    return test
