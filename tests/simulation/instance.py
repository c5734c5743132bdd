"""One process: the shipped cache on simulated servers, and what its readers are owed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    CheckpointError,
    DistributedCacheError,
    InvalidationBus,
    LogUnavailable,
    Position,
    Record,
    StreamOptions,
    Subscription,
)
from async_hybrid_cache_codecs.events import Event, KeysChanging
from async_hybrid_cache_codecs.frames import SealedFrame

from .history import INVALIDATIONS, covered
from .l2 import SimulatedCache
from .link import Link
from .log import SimulatedLog
from .loop import VirtualClock
from .plan import KEYS, STRICT_SECONDS
from .positions import SimulatedCheckpoints
from .process import Process
from .servers import Servers
from .subscribers import FLEET

__all__ = ["SCOPE", "Instance"]

SCOPE = "rows"
T = TypeVar("T")
_FAILURES = {"log": LogUnavailable, "l2": DistributedCacheError, "positions": CheckpointError}


class Instance:
    """What goes by one `name`; `identity` is its `instance_id`, which a forked process shares with its parent."""

    def __init__(self, name: str, identity: str, servers: Servers) -> None:
        self.name, self.identity = name, identity
        self._servers = servers
        self._rng = random.Random(f"{servers.plan.seed} {name}")
        self._began = random.Random(f"{servers.plan.seed} {identity} clock").uniform(0, 1e6)
        self.alive = self.running = False
        self.failures: list[BaseException] = []
        self.counts: Counter[str] = Counter()

    def build(self) -> None:
        """A new process, with an empty L1."""
        servers, plan = self._servers, self._servers.plan
        self.process = Process(random.Random(self._rng.getrandbits(64)))
        self.links = {
            server: Link(random.Random(self._rng.getrandbits(64)), failure) for server, failure in _FAILURES.items()
        }
        self.clock = VirtualClock(servers.loop, began=self._began, wall=self._rng.uniform(-60, 60))
        rng = random.Random(self._rng.getrandbits(64))
        self.l2 = SimulatedCache(servers.store, self.links["l2"], rng, with_log=plan.one_server)
        self.l2.deletes_fail = plan.world.deletes_fail
        options = StreamOptions(
            instance_id=self.identity,
            checkpoints=SimulatedCheckpoints(servers.positions, self.links["positions"]),
            checkpoint_seconds=0.3,
            lease_seconds=1.0,
            heartbeat_seconds=2.0,
            outbox=servers.folder / "outbox" if plan.durable else None,
            outbox_max_events=plan.outbox,
        )
        bus = InvalidationBus(lambda: SimulatedLog(servers.log, self.links["log"], plan.remembers), options)
        self.subscriptions = bus.subscriptions
        if plan.subscribed:
            self._subscribe(bus)
        self.cache = AsyncHybridCache(
            distributed_cache=self.l2,
            invalidation_bus=bus,
            options=CacheOptions(
                ttl_seconds=600,
                fail_safe_seconds=600,
                hard_timeout_seconds=2,
                lru_max_keys=4,
                max_staleness_seconds=STRICT_SECONDS if plan.strict else 10,
                on_stale="raise" if plan.strict else "load",
            ),
            snapshot=servers.folder / self.identity if plan.snapshot else None,
            snapshot_seconds=0.4,
            clock=self.clock,
            rng=random.Random(self._rng.getrandbits(64)),
        )
        self.cache._scopes.tombstones._max = plan.world.tombstones
        assert self.cache._stream is not None
        assert self.cache._l2 is not None
        self.stream = self.cache._stream
        self.reader, self.tier = self.stream.reader, self.cache._l2
        self.scope = self.cache.scope_state(SCOPE)
        self.owed: dict[str, int] = {}
        self.unsealed: dict[str, int] = {}
        self.unsent: dict[str, int] = {}
        self.seen: set[str] = set()
        self.writing: list[str] = []
        self.joint = 0
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.doubted = True
        """Whether L1 or what is owed changed since it was judged."""
        self.judged_puts = 0
        self.healed_at = servers.loop.time()
        self._listen()
        self.alive = True

    def _subscribe(self, bus: InvalidationBus) -> None:
        for who, per in ((FLEET, "fleet"), (self.identity, "instance")):
            made: list[Subscription] = []
            handler = self._servers.subscribers.handler(
                who, random.Random(self._rng.getrandbits(64)), partial(made.__getitem__, 0)
            )
            rng = random.Random(self._rng.getrandbits(64))
            made.append(Subscription(bus, who, handler, per=per, clock=self.clock, rng=rng))  # type: ignore[arg-type]
            bus.subscriptions.append(made[0])

    # -- listening: changes nothing ----------------------------------------------------------------------------

    def _listen(self) -> None:
        history, outbox, scopes, reader = (
            self._servers.history,
            self.stream.outbox,
            self.cache._scopes,
            self.reader,
        )
        add, frame, apply, reset, take = outbox.add, outbox.frame, scopes.apply, scopes.reset, reader._apply
        attach, append = scopes.attach, self.stream.writer._append

        def adding(event: Event, *noted: Any) -> Any:
            # a block that was killed inside is left in the next process's time
            if isinstance(event, INVALIDATIONS) and outbox is self.stream.outbox:
                versions = self._servers.database.versions
                self.unsealed.update({key: versions.get(key, 0) for key in covered(event, KEYS)})
            return add(event, *noted)

        def sealing(*arguments: Any) -> Any:
            sealed = frame(*arguments)
            if sealed is not None and sealed.id not in self.seen:
                self.seen.add(sealed.id)
                self._sealed(sealed)
            return sealed

        def applying(event: Event, position: Position) -> None:
            entries = [] if isinstance(event, KeysChanging) else self.scope.store.entries.values()
            newer = [entry for entry in entries if entry.stamp >= position]
            apply(event, position)
            for entry in newer:
                if entry.gone:
                    history.broken.append(f"5: an event at {position} evicted {entry.key} stamped {entry.stamp}")

        def resetting(position: Position, reason: str) -> None:
            # whatever was skipped had been announced, and removed from L2 before that
            reset(position, reason)
            self.owe(history.total)

        def taking(record: Record) -> None:
            take(record)
            self.seen.add(record.id)
            self.owe(history.announced(record.id) or {})

        async def appending(frame: SealedFrame, known: Position) -> Position:
            joint = bool(self.stream.joint and outbox.changes())
            position = await append(frame, known)
            self.joint += joint
            history.acknowledged(frame.id)
            return position

        def attaching(position: Position) -> None:
            attach(position)
            self.counts["restored"] += self.scope.store.slots
            self.doubted = True
            self._judge_replay()

        self.stream.writer._append = appending  # type: ignore[method-assign]
        outbox.add, outbox.frame, reader._apply = adding, sealing, taking  # type: ignore[method-assign, assignment]
        scopes.apply, scopes.reset, scopes.attach = applying, resetting, attaching  # type: ignore[method-assign]

    def _sealed(self, sealed: Any) -> None:
        if (left := self._servers.history.announced(sealed.id)) is not None:
            self.counts["recovered"] += 1
            self.unsent = dict(left)
            return
        named = {key for event in sealed.events if isinstance(event, INVALIDATIONS) for key in covered(event, KEYS)}
        self.unsent = {key: version for key, version in self.unsealed.items() if key in named}
        self._servers.history.sealed(sealed.id, self.unsent)
        self.unsealed = {key: version for key, version in self.unsealed.items() if key not in named}
        if self.unsealed and not self.stream.outbox._items:
            self._servers.history.broken.append(f"6: {self.name} never sends that {[*self.unsealed]} were removed")

    def _judge_replay(self) -> None:
        """Promise 7: all since the checkpoint was applied, unless the log does not hold it, which is counted."""
        log, kept = self._servers.log, self.reader.checkpoint
        if self.stream.base is not None and log.epoch == self.reader.applied.epoch:
            # what an event before the snapshot named may not be in it
            for id, _ in log.records[: max(0, self.reader.applied.offset - log.first + 1)]:
                self.owe(self._servers.history.announced(id) or {})
        if kept is None:
            self.counts["cold starts"] += 1
            return
        self.counts["warm starts"] += 1
        upto = self.reader.applied
        for offset in range(max(kept.offset + 1, log.first), min(upto.offset, log.last) + 1):
            id = log.records[offset - log.first][0]
            if log.epoch == kept.epoch == upto.epoch and id not in self.seen:
                self._servers.history.broken.append(f"7: {self.name} restarted at {kept.offset} and skipped {offset}")

    # -- life --------------------------------------------------------------------------------------------------

    def owe(self, versions: dict[str, int]) -> None:
        """From now on nobody here may get less than these."""
        for key, version in versions.items():
            if version > self.owed.get(key, 0):
                self.owed[key] = version
                self.doubted = True

    def read(self, key: str, at: Position | None = None) -> Coroutine[Any, Any, int]:
        return self.cache.get_or_set(key, lambda: self._servers.database.read(key), scope=SCOPE, at_least=at)

    @property
    def frozen(self) -> bool:
        """Whether its process stands still."""
        return self._servers.loop.frozen(self.process)

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of its process."""
        return self._servers.loop.create_task(work, context=self.process.context)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """The same, which ends with its process."""
        task = self.run(work)
        self.tasks[task] = None
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)

    def crash(self) -> None:
        """SIGKILL: no task runs on, nothing is said to anybody; what was sent before may arrive."""
        self._servers.loop.thaw(self.process)
        self.ended()
        for link in self.links.values():
            link.killed = True
        self.process.kill()
        for task in [*self.tasks, *self.cache._loader._tasks]:
            task.cancel()
        self.stream.tasks.cancel()
        for subscription in self.subscriptions:
            if subscription._tasks is not None:
                subscription._tasks.cancel()
        journal, life, snapshot = self.stream.journal, self.cache._lifecycle, self.cache._snapshot
        for ending in (life._maintenance, life._writing, journal and journal._flushing):
            if ending is not None:
                ending.cancel()
        # the system lets go of what a process had locked
        for slot in (journal and journal._slot, snapshot and snapshot._slot):
            if slot is not None:
                slot.release()

    def ended(self) -> None:
        """Add up this process; a write whose announcement ended with its writer is lost, as docs/limits.md says.

        With an outbox on disk none is that waits; the removals that had not returned may be told or not.
        """
        self.alive = self.running = False
        self._count()
        history = self._servers.history
        history.excused.update(self.writing)
        journal = self.stream.journal
        if journal is None or journal.broken is not None:
            history.excused.update(self.waits())
            history.excused.update(key for key in KEYS if self.tier._suspect(SCOPE, key))
        history.died(self.stream.origin)

    def waits(self) -> set[str]:
        """Keys whose announcement is not acknowledged."""
        return {*self.unsealed, *(self.unsent if len(self.stream.outbox) else ())}

    def _count(self) -> None:
        stats = self.cache.stats()
        self.counts["fenced"] += stats.fenced
        self.counts["fills_fenced"] += stats.fills_fenced
        self.counts["loads"] += stats.loads
        self.counts["stale_l2"] += stats.distributed.stale
        self.counts["waits"] += stats.distributed.waits
        self.counts["replayed"] += self.reader.replayed
        self.counts["gaps"] += self.reader.gaps
        self.counts["duplicates"] += self.reader.duplicates
        self.counts["joint"] += self.joint
        if self.cache._snapshot is not None:
            self.counts["snapshots"] += self.cache._snapshot.written
            self.counts["snapshots thrown away"] += self.cache._snapshot.thrown_away
        self.counts["coarsened"] += self.stream.outbox.coarsened
