"""The instances: the shipped cache on simulated servers, and what each of them has to know."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from typing import Any

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    CheckpointConflict,
    InvalidationBus,
    Kept,
    Position,
    Record,
    StreamOptions,
)
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved, ScopeCleared

from .loop import VirtualClock, VirtualLoop
from .world import Database, Link, SharedLog, SharedStore, SimulatedCache, SimulatedLog

__all__ = ["SCOPE", "Announcements", "Instance", "MemoryCheckpoints"]

SCOPE = "rows"
_INVALIDATIONS = (KeysRemoved, ScopeCleared, CacheCleared)


class MemoryCheckpoints:
    """What survives a crash of one instance."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}
        self._versions = itertools.count(1)

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def load(self, name: str) -> Kept | None:
        return self._kept.get(name)

    async def save(self, name: str, data: bytes, version: int) -> int:
        kept = self._kept.get(name)
        if version != (kept.version if kept else 0):
            raise CheckpointConflict(name)
        self._kept[name] = Kept(data, next(self._versions))
        return self._kept[name].version

    def died(self) -> None:
        """The holder of the leases is dead, which a real one's neighbours see at once."""
        self._kept = {name: kept for name, kept in self._kept.items() if not name.endswith("/lease")}

    @property
    def names(self) -> set[str]:
        return set(self._kept)


class Announcements:
    """What every record announced: the versions in the database when its events were published."""

    def __init__(self) -> None:
        self._of_record: dict[str, dict[str, int]] = {}
        self.total: dict[str, int] = {}

    def appended(self, id: str) -> None:
        """The record is in the log."""
        for key, version in self.of(id).items():
            self.total[key] = max(version, self.total.get(key, 0))

    def sealed(self, id: str, versions: dict[str, int]) -> None:
        self._of_record[id] = versions

    def of(self, id: str) -> dict[str, int]:
        return self._of_record.get(id, {})


class Instance:
    """One process: its cache, its links, and what its readers are owed."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        rng: random.Random,
        log: SharedLog,
        store: SharedStore,
        database: Database,
        *,
        announcements: Announcements,
        tombstones: int,
        remembers: bool,
    ) -> None:
        self.name = name
        self._announcements = announcements
        self._loop, self._rng = loop, rng
        self._log, self._store, self._database = log, store, database
        self._tombstones, self._remembers = tombstones, remembers
        self.checkpoints = MemoryCheckpoints()
        self.log_link, self.store_link = Link(rng), Link(rng)
        self.alive = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.failures: list[BaseException | None] = []
        self.totals = {"fenced": 0, "fills_fenced": 0, "replayed": 0, "gaps": 0, "loads": 0, "late": 0, "stale_l2": 0}

    def build(self) -> None:
        """A new process, with an empty L1."""
        self.log_link, self.store_link = Link(self._rng), Link(self._rng)
        self.l2 = SimulatedCache(self._store, self.store_link, self._rng)
        stream = StreamOptions(instance_id=self.name, checkpoints=self.checkpoints, checkpoint_seconds=0.3)
        self.cache = AsyncHybridCache(
            distributed_cache=self.l2,
            invalidation_bus=InvalidationBus(lambda: SimulatedLog(self._log, self.log_link, self._remembers), stream),
            options=CacheOptions(ttl_seconds=600, fail_safe_seconds=600, hard_timeout_seconds=2, lru_max_keys=7),
            clock=VirtualClock(self._loop),
            rng=random.Random(self._rng.getrandbits(64)),
        )
        self.cache._scopes.tombstones._max = self._tombstones
        assert self.cache._stream is not None
        self.stream = self.cache._stream
        self._listen()
        self.owed: dict[str, int] = {}
        self.writing: list[str] = []
        self.alive = True
        self.healed_at = self._loop.time()

    def _listen(self) -> None:
        """Note what is published, sealed and applied; changes nothing of it."""
        outbox, scopes = self.stream.outbox, self.cache._scopes
        add, frame, apply = outbox.add, outbox.frame, scopes.apply
        self.unsealed: deque[dict[str, int]] = deque()
        self.unsent: dict[str, dict[str, int]] = {}

        def adding(event: Event, *noted: Any) -> Any:
            versions = self._database.versions
            if isinstance(event, KeysRemoved):
                self.unsealed.append({key: versions.get(key, 0) for key in event.keys})
            elif isinstance(event, _INVALIDATIONS):
                self.unsealed.append(dict(versions))
            return add(event, *noted)

        def sealing(*arguments: Any) -> Any:
            sealed = frame(*arguments)
            if sealed is not None and sealed.id not in self.unsent:
                merged: dict[str, int] = {}
                for event in sealed.events:
                    if isinstance(event, _INVALIDATIONS):
                        for key, version in self.unsealed.popleft().items():
                            merged[key] = max(version, merged.get(key, 0))
                self.unsent = {sealed.id: merged}
                self._announcements.sealed(sealed.id, merged)
            return sealed

        def applying(event: Event, position: Position) -> None:
            newer = [e for scope in scopes for e in scope.store.entries.values() if e.stamp >= position]
            apply(event, position)
            for entry in newer:
                assert entry.used >= 0, f"{self.name}: an event at {position} evicted {entry.key} stamped {entry.stamp}"

        reset = scopes.reset

        def resetting(position: Position, reason: str) -> None:
            # whatever was skipped had been announced, and removed from L2 before that
            reset(position, reason)
            self.owe(self._announcements.total)

        scopes.reset = resetting  # type: ignore[method-assign]
        outbox.add, outbox.frame, scopes.apply = adding, sealing, applying  # type: ignore[method-assign]
        self._listen_to_reader()

    def _listen_to_reader(self) -> None:
        reader = self.stream.reader
        apply = reader._apply

        def applying(record: Record) -> None:
            apply(record)
            self.owe(self._announcements.of(record.id))

        reader._apply = applying  # type: ignore[method-assign]

    def owe(self, versions: dict[str, int]) -> None:
        """From now on nobody here may get less than these."""
        for key, version in versions.items():
            self.owed[key] = max(version, self.owed.get(key, 0))

    @property
    def applied(self) -> Position:
        return self.stream.reader.applied

    def read(self, key: str) -> Any:
        return self.cache.get_or_set(key, lambda: self._database.read(key), scope=SCOPE)

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(task.exception())

    def crash(self) -> None:
        """SIGKILL: no task runs on, nothing is said to anybody."""
        self.harvest()
        self.alive = False
        for task in [*self.tasks, *self.cache._loader._tasks]:
            task.cancel()
        self.stream.tasks.cancel()
        self.checkpoints.died()
        lifecycle = self.cache._lifecycle
        if lifecycle._maintenance is not None:
            lifecycle._maintenance.cancel()
        # what a killed process would have had under way never comes back
        self.log_link.cut = self.store_link.cut = True

    def harvest(self) -> None:
        """Add this process's counts to the totals."""
        stats = self.cache.stats()
        self.totals["fenced"] += stats.fenced
        self.totals["fills_fenced"] += stats.fills_fenced
        self.totals["loads"] += stats.loads
        self.totals["stale_l2"] += stats.distributed.stale
        if stats.stream is not None:
            self.totals["replayed"] += stats.stream.events_replayed
            self.totals["gaps"] += stats.stream.gap_total
