"""One process: the shipped cache on simulated servers, and what its readers are owed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from functools import partial
from typing import Any

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
from async_hybrid_cache_codecs.events import Event
from async_hybrid_cache_codecs.frames import SealedFrame

from .history import INVALIDATIONS, covered
from .l2 import SimulatedCache
from .link import Link
from .log import SimulatedLog
from .loop import VirtualClock
from .plan import KEYS, STRICT_SECONDS
from .positions import SimulatedCheckpoints
from .servers import Servers
from .subscribers import FLEET

__all__ = ["SCOPE", "Instance"]

SCOPE = "rows"
_FAILURES = {"log": LogUnavailable, "l2": DistributedCacheError, "positions": CheckpointError}


class Instance:
    """What goes by one `name`; `identity` is its `instance_id`, which a forked process shares with its parent."""

    def __init__(self, name: str, identity: str, servers: Servers) -> None:
        self.name, self.identity = name, identity
        self._servers = servers
        self._rng = random.Random(f"{servers.plan.seed} {name}")
        self.alive = self.running = False
        self.failures: list[BaseException] = []
        self.counts: Counter[str] = Counter()

    def build(self) -> None:
        """A new process, with an empty L1."""
        servers, plan = self._servers, self._servers.plan
        self.links = {
            server: Link(random.Random(self._rng.getrandbits(64)), failure) for server, failure in _FAILURES.items()
        }
        self.clock = VirtualClock(servers.loop, began=self._rng.uniform(0, 1e6), wall=self._rng.uniform(-60, 60))
        rng = random.Random(self._rng.getrandbits(64))
        self.l2 = SimulatedCache(servers.store, self.links["l2"], rng, with_log=plan.one_server)
        self.l2.deletes_fail = plan.world.deletes_fail
        options = StreamOptions(
            instance_id=self.identity,
            checkpoints=SimulatedCheckpoints(servers.positions, self.links["positions"]),
            checkpoint_seconds=0.3,
            lease_seconds=1.0,
            heartbeat_seconds=2.0,
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
            if isinstance(event, INVALIDATIONS):
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
            newer = [entry for entry in self.scope.store.entries.values() if entry.stamp >= position]
            apply(event, position)
            for entry in newer:
                if entry.used < 0:
                    history.broken.append(f"5: an event at {position} evicted {entry.key} stamped {entry.stamp}")

        def resetting(position: Position, reason: str) -> None:
            # whatever was skipped had been announced, and removed from L2 before that
            reset(position, reason)
            self.owe(history.total)

        def taking(record: Record) -> None:
            take(record)
            self.seen.add(record.id)
            self.owe(history.announced(record.id))

        async def appending(frame: SealedFrame) -> Position:
            joint = bool(self.stream.joint and outbox.changes())
            position = await append(frame)
            self.joint += joint
            history.acknowledged(frame.id)
            return position

        def attaching(position: Position) -> None:
            attach(position)
            self._judge_replay()

        self.stream.writer._append = appending  # type: ignore[method-assign]
        outbox.add, outbox.frame, reader._apply = adding, sealing, taking  # type: ignore[method-assign, assignment]
        scopes.apply, scopes.reset, scopes.attach = applying, resetting, attaching  # type: ignore[method-assign]

    def _sealed(self, sealed: Any) -> None:
        named = {key for event in sealed.events if isinstance(event, INVALIDATIONS) for key in covered(event, KEYS)}
        self.unsent = {key: version for key, version in self.unsealed.items() if key in named}
        self._servers.history.sealed(sealed.id, self.unsent)
        self.unsealed = {key: version for key, version in self.unsealed.items() if key not in named}
        if self.unsealed and not self.stream.outbox._items:
            self._servers.history.broken.append(f"6: {self.name} never sends that {[*self.unsealed]} were removed")

    def _judge_replay(self) -> None:
        """Promise 7: all since the checkpoint was applied, unless the log does not hold it, which is counted."""
        log, kept = self._servers.log, self.reader.checkpoint
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

    def read(self, key: str) -> Any:
        return self.cache.get_or_set(key, lambda: self._servers.database.read(key), scope=SCOPE)

    def spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks[task] = None
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)

    def crash(self) -> None:
        """SIGKILL: no task runs on, nothing is said to anybody; what was sent before may arrive."""
        self.ended()
        for link in self.links.values():
            link.killed = True
        for task in [*self.tasks, *self.cache._loader._tasks]:
            task.cancel()
        self.stream.tasks.cancel()
        for subscription in self.subscriptions:
            if subscription._tasks is not None:
                subscription._tasks.cancel()
        if self.cache._lifecycle._maintenance is not None:
            self.cache._lifecycle._maintenance.cancel()

    def ended(self) -> None:
        """Add up this process; a write whose announcement ended with its writer is lost, as docs/limits.md says."""
        self.alive = self.running = False
        self._count()
        history = self._servers.history
        history.excused.update(self.writing, self.waits())
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
        self.counts["coarsened"] += self.stream.outbox.coarsened
