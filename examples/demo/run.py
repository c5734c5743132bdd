"""The story: traffic, one process killed in the middle, writes go on, it comes back; then the reckoning."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from time import perf_counter
from typing import Any

from .checker import Checker, show_position
from .fleet import Fleet, MemberFailed
from .traffic import Traffic
from .verdict import Outcome

__all__ = ["Run"]

_QUERY_SECONDS = 0.02
_KILL_AT = 0.35
_BACK_AT = 0.6
_SETTLE_SECONDS = 5.0


class Run:
    """One run of `seconds` on `broker`, which keeps its files in `folder`; `told` is what happened, and when."""

    def __init__(self, broker: str, seconds: float, folder: Path) -> None:
        self.seconds = seconds
        self.fleet = Fleet(broker, folder, _QUERY_SECONDS)
        self.checker = Checker()
        self.traffic = Traffic(self.fleet, self.checker)
        self.victim = self.fleet.members[-1]
        self.told: list[tuple[float, str]] = []
        self.missed = 0
        self.caught_up: float | None = None
        self._began = perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since the traffic began."""
        return perf_counter() - self._began

    async def play(self) -> Outcome:
        """Everything, from the first process to the outcome."""
        async with self.fleet:
            self._began = perf_counter()
            names = ", ".join(member.name for member in self.fleet.members)
            self._tell(f"{names} are up; reads and writes begin")
            async with _running(self.traffic.run()), _running(self._watch()):
                await self._sleep_until(_KILL_AT)
                await self._kill_and_return()
                await self._sleep_until(1.0)
            await self._settle()
            return self._outcome()

    async def _kill_and_return(self) -> None:
        victim, writes = self.victim, self.traffic.writes
        await victim.kill()
        self._tell(f"{victim.name} killed with SIGKILL at {show_position(victim.position)}; writes go on")
        await self._sleep_until(_BACK_AT)
        self.missed = self.traffic.writes - writes
        self._tell(f"{victim.name} comes back; it missed {self.missed} writes")
        try:
            self.caught_up = await victim.start(until=self.traffic.head)
        except MemberFailed as error:
            self.traffic.failed.append(str(error))
            return
        self._tell(
            f"{victim.name} caught up at {show_position(victim.position)}, {self.caught_up:.2f} s after its start"
        )

    async def _settle(self) -> None:
        """Let everybody apply the last write, then read every user everywhere."""
        deadline = perf_counter() + _SETTLE_SECONDS
        while late := [member for member in self.fleet.up if (member.position or (0, 0)) < self.traffic.head]:
            if perf_counter() > deadline:
                self.traffic.failed += [f"{member.name} stayed behind the last write" for member in late]
                break
            await self.fleet.refresh()
        await self.traffic.read_all()
        await self.fleet.refresh()
        self._tell("every user read once more on every process")

    def _outcome(self) -> Outcome:
        checker, fleet = self.checker, self.fleet
        return Outcome(
            reads=checker.reads,
            checked=checker.checked,
            across=checker.across,
            stale=checker.stale,
            hits=fleet.total("hits"),
            gone=self.traffic.gone,
            fenced=fleet.total("fenced"),
            replayed=self.victim.counts["replayed"],
            missed=self.missed,
            caught_up=self.caught_up,
            killed=self.victim.name,
            gaps=fleet.total("gaps"),
            failed=self.traffic.failed,
        )

    async def _watch(self) -> None:
        while True:
            await self.fleet.refresh()
            await asyncio.sleep(0.2)

    async def _sleep_until(self, share: float) -> None:
        await asyncio.sleep(max(0.0, share * self.seconds - self.elapsed))

    def _tell(self, what: str) -> None:
        self.told.append((self.elapsed, what))


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """`work` in a task of its own while the block runs; where it fails, the block is cancelled and fails with it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()
