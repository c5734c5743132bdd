"""One run: a fleet under the work and the faults of a plan, judged after every step; one seed replays it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from async_hybrid_cache.ownership import lease

from .faults import Faults
from .instance import Instance
from .loop import VirtualLoop, run_virtual
from .oracle import FRESH_SECONDS, Oracle, Violation
from .plan import INSTANCES, WORK, WORK_SECONDS, Plan, Step, draw
from .servers import Servers
from .work import Work

__all__ = ["Run", "Violation", "simulate"]

_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
_QUIET_SECONDS = 6.0  # two heartbeats and a lease


class Run:
    """Plays one plan."""

    def __init__(self, plan: Plan, loop: VirtualLoop, folder: Path) -> None:
        self.plan, self.loop = plan, loop
        self.servers = servers = Servers(plan, loop, folder)
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self._instances = [Instance(f"i{number}", f"i{number}", servers) for number in range(INSTANCES)]
        self._twins = [Instance(f"i{number}'", f"i{number}", servers) for number in range(INSTANCES)]
        self._forked: set[str] = set()
        self._starting: set[asyncio.Task[None]] = set()
        everybody = [*self._instances, *self._twins]
        self._faults = Faults(servers, self._begin_soon, self.note)
        self._oracle = Oracle(servers, everybody)
        self._work = Work(servers, self._oracle, self._faults.kill, self.counts, self.note)

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
            await instance.run(instance.cache.stop())
            instance.ended()
        for instance in (*self._instances, *self._twins):
            self.counts.update(instance.counts)
        self.counts.update(self.servers.subscribers.counts)
        self.counts["refused"] = self.servers.store.refused

    def kill(self) -> None:
        """Whoever is left: nothing of it may outlive the run."""
        self.loop.after_step = None
        for instance in (*self._instances, *self._twins):
            if instance.alive:
                instance.crash()

    # -- processes ---------------------------------------------------------------------------------------------

    async def _begin(self, instance: Instance) -> None:
        instance.build()
        self.note(f"{instance.name} starts")
        if instance in self._twins:
            self._forked.add(instance.identity)
        await instance.run(instance.cache.start())
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
            instance.spawn(self._work.do(step, instance))

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
        if self.plan.durable and self._instances[0].alive:
            self._instances[0].crash()  # whoever starts next sends what ended processes left on disk
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
def _surroundings() -> Iterator[Path]:
    """Every process on a host of its own, where no other can see whether it runs; nobody logs; a folder for files."""
    logger = logging.getLogger("async_hybrid_cache")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with mock.patch.object(lease, "this_process", return_value=""), TemporaryDirectory(dir=_MEMORY) as folder:
            yield Path(folder)
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
        try:
            await run.main()
        finally:
            run.kill()
        if failures:
            raise failures[0]

    def begin(loop: VirtualLoop) -> Any:
        made.append(Run(plan or draw(seed), loop, folder))
        return main(made[0])

    try:
        with _surroundings() as folder:
            run_virtual(begin)
    except BaseException as error:
        for line in made[0].trace[-60:]:
            error.add_note(line)
        raise
    return made[0]
