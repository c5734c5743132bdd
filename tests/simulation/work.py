"""What callers do with the cache, and what each is owed for it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from async_hybrid_cache import BarrierTimeout, CacheError, Position

from .instance import SCOPE, Instance
from .oracle import Oracle
from .plan import KEYS, Step
from .process import OUTSIDE
from .servers import Servers

__all__ = ["Work"]

_BARRIER_SECONDS = 3.0
_WITHIN_SECONDS = 2.0
_DIES_INSIDE = 0.2
_READS_WHAT_CHANGED = 0.5


class Work:
    """Does what a step says; a verb is the name of a method."""

    def __init__(
        self,
        servers: Servers,
        oracle: Oracle,
        kill: Callable[[Instance, float], None],
        counts: Counter[str],
        note: Callable[[str], None],
    ) -> None:
        self._servers, self._oracle, self._kill, self._counts, self._note = servers, oracle, kill, counts, note
        self._rng = random.Random(f"{servers.plan.seed} work")
        self._locks = {key: asyncio.Lock() for key in KEYS}
        self._acknowledged: list[tuple[Position, dict[str, int], bool]] = []

    async def do(self, step: Step, instance: Instance) -> None:
        """Do it, in a task of that instance's process."""
        await getattr(self, step.verb)(instance, step.what)

    # -- reads -------------------------------------------------------------------------------------------------

    async def read(self, instance: Instance, key: str) -> None:
        owed = instance.owed.get(key, 0)
        await self._read(instance, key, lambda: owed, None)

    async def read_at(self, instance: Instance, key: str) -> None:
        """Promise 4: what somebody else's receipt names is there, whatever this instance has heard."""
        begun = len(self._acknowledged)
        position = self._newest(begun)
        if self._acknowledged and self._rng.random() < _READS_WHAT_CHANGED:
            position, changed, _ = self._acknowledged[-1]
            key = self._rng.choice([*changed] or [key])
        self._counts["reads at a position"] += 1
        owed = instance.owed.get(key, 0)
        await self._read(instance, key, lambda: max(owed, self._known(begun).get(key, 0)), position)

    async def _read(self, instance: Instance, key: str, owed: Callable[[], int], position: Position | None) -> None:
        self._counts["reads"] += 1
        try:
            got = await instance.read(key, position)
        except (CacheError, ConnectionError):
            return
        self._oracle.judge_read(instance, key, got, owed())

    async def barrier(self, instance: Instance, _: str) -> None:
        """Promise 4: nobody serves what is older, or it is named who may."""
        begun = len(self._acknowledged)
        position = self._newest(begun)
        try:
            await instance.cache.barrier(position, timeout=_BARRIER_SECONDS)
        except BarrierTimeout as late:
            self._counts["barriers that named somebody"] += 1
            self._oracle.judge_named(instance, late.missing)
        except CacheError:
            return
        else:
            self._counts["barriers"] += 1
            self._oracle.judge_barrier(instance, position, self._known(begun))

    def _newest(self, count: int) -> Position | None:
        """The newest of the first `count` receipts."""
        return max((position for position, _, _ in self._acknowledged[:count]), default=None)

    def _known(self, count: int) -> dict[str, int]:
        """The versions that these acknowledged, but for what the log has lost by now."""
        known: dict[str, int] = {}
        for position, versions, knowing in self._acknowledged[:count]:
            if self._servers.log.lost_end(position) and not knowing:
                continue  # one place may stand for two changes then, as docs/limits.md says
            for key, version in versions.items():
                known[key] = max(version, known.get(key, 0))
        return known

    # -- changes -----------------------------------------------------------------------------------------------

    async def remove(self, instance: Instance, key: str) -> None:
        await self._change(instance, key, lambda version: instance.cache.remove(key, scope=SCOPE))

    async def set(self, instance: Instance, key: str) -> None:
        await self._change(instance, key, lambda version: instance.cache.set(key, version, scope=SCOPE))

    async def clear(self, instance: Instance, _: str) -> None:
        versions, writing = dict(self._servers.database.versions), instance.writing
        try:
            receipt = await instance.cache.clear(scope=SCOPE)
        except CacheError:
            return
        self._returned(instance, writing, receipt.position, versions)

    async def _change(self, instance: Instance, key: str, how: Callable[[int], Any]) -> None:
        writing = instance.writing
        # two sets of one key at once end with the later in the log, whatever the database holds
        async with self._locks[key]:
            if not instance.alive or writing is not instance.writing:
                return
            writing.append(key)
            version = self._servers.database.write(key)
            self._counts["writes"] += 1
            try:
                receipt = await how(version)
            except CacheError:
                # stopped meanwhile, so that the writer is told that nobody else was
                self._servers.history.excused.add(key)
                return
            finally:
                writing.remove(key)
            self._note(f"{instance.name} changed {key}={version}: {receipt.position or 'queued'}")
            self._returned(instance, writing, receipt.position, {key: version})

    async def change(self, instance: Instance, key: str) -> None:
        """`invalidating`: the commit happens in the block, whether its writer lives to see it or not."""
        writing, history, loop = instance.writing, self._servers.history, self._servers.loop
        began, versions, committed = loop.time(), dict[str, int](), asyncio.Event()
        believed = instance.tier.usable and self._servers.plan.world.announces
        async with self._locks[key]:
            if not instance.alive or writing is not instance.writing:
                return
            try:
                async with instance.cache.invalidating(key, scope=SCOPE, within_seconds=_WITHIN_SECONDS) as receipt:
                    told = believed and not receipt.queued

                    def commit() -> None:
                        versions[key] = self._servers.database.write(key)
                        committed.set()
                        self._counts["announced writes"] += 1
                        self._note(f"{instance.name} commits {key}={versions[key]}: {receipt.position or 'queued'}")
                        if not told or loop.time() - began >= _WITHIN_SECONDS:
                            # its death now leaves somebody stale, as docs/limits.md says
                            writing.append(key)
                            if writing is not instance.writing or not instance.alive:
                                history.excused.add(key)

                    seconds = self._rng.uniform(0, 0.4)
                    loop.call_later(seconds, commit, context=OUTSIDE)
                    if self._rng.random() < _DIES_INSIDE and not instance.name.endswith("'"):
                        loop.call_later(seconds * self._rng.random(), self._die, instance, writing, context=OUTSIDE)
                    await committed.wait()
            except CacheError:
                # stopped meanwhile; the announcement does the rest, where there was one
                if key in writing:
                    history.excused.add(key)
                return
            finally:
                if key in writing:
                    writing.remove(key)
            self._returned(instance, writing, None, versions)

    def _die(self, instance: Instance, writing: list[str]) -> None:
        if writing is instance.writing and instance.running:
            self._note(f"{instance.name} dies inside")
            self._counts["died inside"] += 1
            self._kill(instance, self._rng.random())

    def _returned(
        self, instance: Instance, writing: list[str], position: Position | None, versions: dict[str, int]
    ) -> None:
        if position is not None:
            # who has read all of the lost end may give no receipt within it
            end = self._servers.log.lost_end(position)
            self._acknowledged.append((position, versions, end is not None and instance.reader.applied >= end))
        if writing is instance.writing:
            instance.owe(versions)
