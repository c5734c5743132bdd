"""One run: a fleet under random work and faults, judged after every step; one seed replays it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from async_hybrid_cache import CacheError

from .fleet import SCOPE, Announcements, Instance
from .loop import VirtualLoop, run_virtual
from .world import Database, SharedLog, SharedStore

__all__ = ["Run", "Violation", "simulate"]

KEYS = tuple("abcdefghij")
WORLDS = ("plain", "deletes fail", "tombstones forgotten", "log lost")
INSTANCES = 3
WORK_SECONDS = 6.0
FRESH_SECONDS = 2.0
SETTLE_SECONDS = 30.0


class Violation(AssertionError):
    """A promise was broken; the message says which, where and when."""


class Run:
    """Work, faults and the oracle for one seed."""

    def __init__(self, seed: int, loop: VirtualLoop, patch: Callable[[Run], None] | None = None) -> None:
        self.seed, self.loop = seed, loop
        self.rng = rng = random.Random(seed)
        self.world = WORLDS[seed % len(WORLDS)]
        self.announcements = Announcements()
        self.log = SharedLog(loop.time, self.announcements.appended)
        self.store, self.database = SharedStore(), Database(rng)
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self.excused: set[str] = set()
        self.locks = {key: asyncio.Lock() for key in KEYS}
        self.instances = [
            Instance(
                f"i{number}",
                loop,
                rng,
                self.log,
                self.store,
                self.database,
                announcements=self.announcements,
                tombstones=2 if self.world == "tombstones forgotten" else 65_536,
                remembers=rng.random() < 0.5,
            )
            for number in range(INSTANCES)
        ]
        self.patch = patch

    def note(self, what: str) -> None:
        self.trace.append(f"{self.loop.time():9.4f} {what}")

    async def main(self) -> None:
        for instance in self.instances:
            await self.begin(instance)
        self.loop.after_step = self.judge
        workers = [asyncio.ensure_future(self.keep_working(i)) for i in self.instances for _ in range(3)]
        mischief = asyncio.ensure_future(self.make_faults())
        await asyncio.sleep(WORK_SECONDS)
        for task in (*workers, mischief):
            task.cancel()
        await asyncio.gather(*workers, mischief, return_exceptions=True)
        await self.settle()
        self.loop.after_step = None
        for instance in self.instances:
            instance.harvest()
            self.counts.update(instance.totals)
            await instance.cache.stop()
        self.counts["refused"] = self.store.refused

    async def begin(self, instance: Instance) -> None:
        instance.build()
        instance.l2.deletes_fail = 0.3 if self.world == "deletes fail" else 0.0
        if self.patch is not None:
            self.patch(self)
        self.note(f"{instance.name} starts")
        try:
            await instance.cache.start()
        except asyncio.CancelledError:
            # the work is over; `settle` starts it again
            instance.alive = False
            raise

    # -- work ------------------------------------------------------------------------------------------------

    async def keep_working(self, instance: Instance) -> None:
        while True:
            await asyncio.sleep(self.rng.expovariate(30))
            if instance.alive:
                key = self.rng.choice(KEYS)
                dice = self.rng.random()
                if dice < 0.75:
                    instance.spawn(self.read(instance, key))
                elif dice < 0.93:
                    instance.spawn(self.change(instance, key, self.remove))
                elif dice < 0.99:
                    instance.spawn(self.change(instance, key, self.set))
                else:
                    instance.spawn(self.clear(instance))

    async def read(self, instance: Instance, key: str) -> None:
        owed = instance.owed.get(key, 0)
        self.counts["reads"] += 1
        try:
            got = await instance.read(key)
        except (CacheError, ConnectionError):
            return
        if instance.alive and got < owed and key not in self.excused:
            raise self.violation(f"C: {instance.name} returned version {got} of {key} where {owed} was due")

    async def change(self, instance: Instance, key: str, how: Callable[[Instance, str], Any]) -> None:
        # two sets of one key at once end with the later in the log, whatever the database holds
        async with self.locks[key]:
            if instance.alive:
                instance.writing.append(key)
                try:
                    await how(instance, key)
                finally:
                    if instance.alive:
                        instance.writing.remove(key)

    async def remove(self, instance: Instance, key: str) -> None:
        version = self.database.write(key)
        self.note(f"{instance.name} writes {key}={version}")
        self.counts["writes"] += 1
        receipt = await instance.cache.remove(key, scope=SCOPE)
        self.note(f"{instance.name} removed {key}={version}: {receipt.position or 'queued'}")
        instance.owe({key: version})

    async def set(self, instance: Instance, key: str) -> None:
        version = self.database.write(key)
        self.counts["writes"] += 1
        await instance.cache.set(key, version, scope=SCOPE)
        self.note(f"{instance.name} set {key}={version}")
        instance.owe({key: version})

    async def clear(self, instance: Instance) -> None:
        versions = dict(self.database.versions)
        await instance.cache.clear(scope=SCOPE)
        self.note(f"{instance.name} cleared")
        instance.owe(versions)

    # -- faults ----------------------------------------------------------------------------------------------

    async def make_faults(self) -> None:
        faults = [self.cut, self.stall, self.slow, self.lose_answers, self.crash, self.fail_loaders]
        if self.world == "deletes fail":
            faults += [self.cut_l2, self.cut_l2]
        if self.world == "log lost":
            faults += [self.trim, self.delete, self.lose_tail]
        while True:
            await asyncio.sleep(self.rng.uniform(0.05, 1.0))
            instance = self.rng.choice(self.instances)
            fault = self.rng.choice(faults)
            self.note(f"fault: {fault.__name__} {instance.name}")
            self.counts[fault.__name__] += 1
            await fault(instance)

    async def _while(self, instance: Instance) -> None:
        await asyncio.sleep(self.rng.uniform(0.05, 2.5))
        instance.log_link.heal()
        instance.store_link.heal()
        instance.healed_at = self.loop.time()
        self.note(f"{instance.name} healed")

    async def cut(self, instance: Instance) -> None:
        instance.log_link.cut = True
        await self._while(instance)

    async def stall(self, instance: Instance) -> None:
        instance.log_link.stall()
        await self._while(instance)

    async def slow(self, instance: Instance) -> None:
        instance.log_link.slow = 0.3
        instance.store_link.slow = 0.1
        await self._while(instance)

    async def lose_answers(self, instance: Instance) -> None:
        instance.log_link.lossy = 0.3
        await self._while(instance)

    async def cut_l2(self, instance: Instance) -> None:
        instance.store_link.cut = True
        await self._while(instance)

    async def fail_loaders(self, instance: Instance) -> None:
        self.database.failing, self.database.slow = 0.4, 0.2
        await asyncio.sleep(self.rng.uniform(0.1, 1.0))
        self.database.failing, self.database.slow = 0.0, 0.02

    async def crash(self, instance: Instance) -> None:
        self.excuse(instance)
        instance.crash()
        self.counts.update(instance.totals)
        instance.totals = dict.fromkeys(instance.totals, 0)
        await asyncio.sleep(self.rng.uniform(0.05, 2.0))
        await self.begin(instance)

    async def trim(self, instance: Instance) -> None:
        instance.log_link.cut = True
        await asyncio.sleep(self.rng.uniform(0.1, 1.0))
        self.log.trim(self.rng.randrange(3))
        await self._while(instance)

    async def delete(self, instance: Instance) -> None:
        self.log.delete()

    async def lose_tail(self, instance: Instance) -> None:
        self.log.lose_tail(self.rng.randint(1, 5))

    def excuse(self, instance: Instance) -> None:
        """A write whose announcement dies with its writer is lost; that limit is documented."""
        lost = {*instance.writing, *(key for versions in instance.unsealed for key in versions)}
        lost |= (
            {key for versions in instance.unsent.values() for key in versions} if len(instance.stream.outbox) else set()
        )
        late = instance.cache._l2
        assert late is not None
        lost |= {key for key in KEYS if late._suspect(SCOPE, key)}
        self.excused |= lost
        instance.writing.clear()

    # -- the oracle ------------------------------------------------------------------------------------------

    def violation(self, what: str) -> Violation:
        return Violation(f"seed {self.seed} ({self.world}), at {self.loop.time():.4f} s: {what}")

    def judge(self) -> None:
        now = self.loop.time()
        for instance in self.instances:
            if instance.failures:
                raise instance.failures[0] or self.violation("a task failed")
            if instance.alive and instance.stream.attached:
                self._judge_l1(instance)
                self._judge_progress(instance, now)

    def _judge_l1(self, instance: Instance) -> None:
        for scope in instance.cache._scopes:
            for entry in scope.store.entries.values():
                owed = instance.owed.get(entry.key, 0)
                if entry.value < owed and entry.key not in self.excused:
                    raise self.violation(
                        f"A: {instance.name} holds version {entry.value} of {entry.key} where {owed} was due"
                    )

    def _judge_progress(self, instance: Instance, now: float) -> None:
        """Promise 1: applied within 2 s of the log being reachable, or reset."""
        if not instance.log_link.healthy or not self.log.exists:
            return
        position = instance.applied
        if position.epoch != self.log.epoch or position.offset >= self.log.last or not self.log.times:
            return
        since = max(instance.healed_at, self.log.times[max(position.offset + 1, self.log.first) - self.log.first])
        if now - since > FRESH_SECONDS:
            raise self.violation(
                f"1: {instance.name} is at {position} and the log at {self.log.last} for {now - since:.2f} s"
            )

    async def settle(self) -> None:
        """All faults healed and all work done, everybody has to agree."""
        for instance in self.instances:
            if not instance.alive:
                await self.begin(instance)
            instance.log_link.heal()
            instance.store_link.heal()
            instance.l2.deletes_fail = 0.0
            instance.healed_at = self.loop.time()
        self.database.failing, self.database.slow = 0.0, 0.02
        await asyncio.sleep(SETTLE_SECONDS)
        deadline = self.loop.time() + FRESH_SECONDS
        # heartbeats go on, so there is not one moment at which everybody must be at the head
        while unsettled := self._unsettled():
            if self.loop.time() > deadline:
                raise self.violation(f"all is quiet and {unsettled}")
            await asyncio.sleep(0.01)
        for instance in self.instances:
            for key in KEYS:
                got = await instance.read(key)
                if got != self.database.versions.get(key, 0) and key not in self.excused:
                    raise self.violation(f"D: all is quiet and {instance.name} returns version {got} of {key}")

    def _unsettled(self) -> str | None:
        for instance in self.instances:
            if (instance.applied.epoch, instance.applied.offset) != (self.log.epoch, self.log.last):
                return f"{instance.name} is at {instance.applied}, the log at {self.log.epoch}-{self.log.last}"
            if len(instance.stream.outbox) or instance.cache.stats().distributed.late_deletes:
                return f"{instance.name} has not sent or deleted everything"
        return None


def simulate(seed: int, patch: Callable[[Run], None] | None = None) -> Run:
    """Run one seed; raises `Violation`, with the trace of the run in its notes."""
    logging.getLogger("async_hybrid_cache").setLevel(logging.CRITICAL)
    made: list[Run] = []

    async def main(run: Run) -> None:
        failures: list[BaseException] = []
        run.loop.set_exception_handler(
            lambda _, context: failures.append(context.get("exception") or Violation(str(context)))
        )
        await run.main()
        if failures:
            raise failures[0]

    def begin(loop: VirtualLoop) -> Any:
        run = Run(seed, loop, patch)
        made.append(run)
        return main(run)

    try:
        run_virtual(begin)
    except BaseException as error:
        for line in made[0].trace[-60:]:
            error.add_note(line)
        raise
    return made[0]
