"""One run: a fleet under the work and the faults of a plan, judged after every step; one seed replays it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from async_hybrid_cache import CacheError
from async_hybrid_cache.ownership import lease

from .faults import Faults
from .instance import SCOPE, Instance
from .loop import VirtualLoop, run_virtual
from .oracle import FRESH_SECONDS, Oracle, Violation
from .plan import INSTANCES, KEYS, WORK, WORK_SECONDS, Plan, Step, draw
from .servers import Servers

__all__ = ["Run", "Violation", "simulate"]

_QUIET_SECONDS = 6.0  # two heartbeats and a lease


class Run:
    """Plays one plan."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self.plan, self.loop = plan, loop
        self.servers = servers = Servers(plan, loop)
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self._locks = {key: asyncio.Lock() for key in KEYS}
        self._instances = [Instance(f"i{number}", f"i{number}", servers) for number in range(INSTANCES)]
        self._twins = [Instance(f"i{number}'", f"i{number}", servers) for number in range(INSTANCES)]
        self._forked: set[str] = set()
        self._starting: set[asyncio.Task[None]] = set()
        everybody = [*self._instances, *self._twins]
        self._faults = Faults(servers, self._begin_soon, self.note)
        self._oracle = Oracle(servers, everybody)

    def note(self, what: str) -> None:
        self.trace.append(f"{self.loop.time():9.4f} {what}")

    async def main(self) -> None:
        for instance in self._instances:
            await self._begin(instance)
        self.loop.after_step = self._oracle.judge
        began = self.servers.subscribers.begun_at = self.loop.time()
        for step in self.plan.steps:
            await asyncio.sleep(began + step.at - self.loop.time())
            self._take(step)
        await asyncio.sleep(began + WORK_SECONDS - self.loop.time())
        await self._settle()
        self.loop.after_step = None
        for instance in self._instances:
            await instance.cache.stop()
            instance.ended()
        for instance in (*self._instances, *self._twins):
            self.counts.update(instance.counts)
        self.counts.update(self.servers.subscribers.counts)
        self.counts["refused"] = self.servers.store.refused

    # -- processes ---------------------------------------------------------------------------------------------

    async def _begin(self, instance: Instance) -> None:
        instance.build()
        self.note(f"{instance.name} starts")
        if instance in self._twins:
            self._forked.add(instance.identity)
        await instance.cache.start()
        instance.running = True

    def _begin_soon(self, instance: Instance) -> None:
        task = asyncio.ensure_future(self._begin(instance))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    # -- work --------------------------------------------------------------------------------------------------

    def _take(self, step: Step) -> None:
        instance, twin = self._instances[step.who], self._twins[step.who]
        if step.verb not in WORK:
            self.note(f"fault: {step}")
            self.counts[step.verb] += 1
            self._faults.do(step, instance, twin)
            return
        if twin.alive and int(step.at * 1e6) % 2:
            instance = twin
        if instance.alive:
            instance.spawn(getattr(self, f"_{step.verb}")(instance, step.what))

    async def _read(self, instance: Instance, key: str) -> None:
        owed = instance.owed.get(key, 0)
        self.counts["reads"] += 1
        try:
            got = await instance.read(key)
        except (CacheError, ConnectionError):
            return
        self._oracle.judge_read(instance, key, got, owed)

    async def _change(self, instance: Instance, key: str, how: Callable[[int], Any]) -> None:
        writing = instance.writing
        # two sets of one key at once end with the later in the log, whatever the database holds
        async with self._locks[key]:
            if not instance.alive or writing is not instance.writing:
                return
            writing.append(key)
            version = self.servers.database.write(key)
            self.counts["writes"] += 1
            try:
                receipt = await how(version)
            except CacheError:
                # stopped meanwhile, so that the writer is told that nobody else was
                self.servers.history.excused.add(key)
                return
            finally:
                writing.remove(key)
            self.note(f"{instance.name} changed {key}={version}: {receipt.position or 'queued'}")
            if writing is instance.writing:
                instance.owe({key: version})

    async def _remove(self, instance: Instance, key: str) -> None:
        await self._change(instance, key, lambda version: instance.cache.remove(key, scope=SCOPE))

    async def _set(self, instance: Instance, key: str) -> None:
        await self._change(instance, key, lambda version: instance.cache.set(key, version, scope=SCOPE))

    async def _clear(self, instance: Instance, _: str) -> None:
        versions, writing = dict(self.servers.database.versions), instance.writing
        try:
            await instance.cache.clear(scope=SCOPE)
        except CacheError:
            return
        if writing is instance.writing:
            instance.owe(versions)

    # -- the end -----------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """All faults healed and all work done, everybody has to agree."""
        # what is stopping or waiting to be started again
        await asyncio.sleep(_QUIET_SECONDS / 2)
        while pending := [*self._starting, *self._faults.tasks]:
            await asyncio.wait(pending)
        for twin in self._twins:
            if twin.alive:
                twin.crash()
        self._oracle.retire(self._twins)
        self.servers.database.heal()
        for instance in self._instances:
            if not instance.alive:
                await self._begin(instance)
            for link in instance.links.values():
                link.heal()
            instance.l2.deletes_fail = 0.0
            instance.healed_at = self.loop.time()
        await asyncio.sleep(_QUIET_SECONDS)
        deadline = self.loop.time() + FRESH_SECONDS
        # heartbeats go on, so there is not one moment at which everybody must be at the head
        while unsettled := self._oracle.unsettled() or self._oracle.untold(self._forked):
            if self.loop.time() > deadline:
                raise self._oracle.violation(f"{unsettled}, and all is quiet")
            await asyncio.sleep(0.01)
        await self._oracle.judge_end()


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """Every process on a host of its own, where no other can see whether it runs; and nobody logs."""
    logger = logging.getLogger("async_hybrid_cache")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with mock.patch.object(lease, "this_process", return_value=""):
            yield
    finally:
        logger.setLevel(level)


def simulate(seed: int, plan: Plan | None = None) -> Run:
    """Run one seed, or a shortened `plan` of it; raises `Violation`, with the end of its trace in its notes."""
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
        made.append(Run(plan or draw(seed), loop))
        return main(made[0])

    try:
        with _surroundings():
            run_virtual(begin)
    except BaseException as error:
        for line in made[0].trace[-60:]:
            error.add_note(line)
        raise
    return made[0]
