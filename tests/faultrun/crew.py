"""The worker processes of a run: started, killed and started again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from tests.faults.child import Child

from .setup import WORKERS, Setup
from .sites import Site

__all__ = ["Crew"]

_HEARD_SECONDS = 2.5


class Crew:
    """One process for each worker at a time; an async context manager, which ends them all."""

    def __init__(self, site: Site, folder: Path, seed: int, without: str | None) -> None:
        self._site = site
        self._folder = folder
        self._seed = seed
        self._without = without
        self._lives = [0] * WORKERS
        self._children: dict[int, Child] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Crew:
        await self._stack.__aenter__()
        await asyncio.gather(*map(self.start, range(WORKERS)))
        await self._all("go")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def __getitem__(self, worker: int) -> Child:
        return self._children[worker]

    async def start(self, worker: int) -> None:
        """A process for `worker`; returns once its cache is served."""
        log, l2 = self._site.urls(worker)
        setup = Setup(
            folder=str(self._folder),
            namespace=self._site.place.namespace,
            worker=worker,
            life=self._lives[worker],
            seed=self._seed,
            log=log,
            l2=l2,
            without=self._without,
        )
        self._lives[worker] += 1
        child = Child("tests.faultrun.worker", msgspec.json.encode(setup).decode(), log=self._folder / "workers.log")
        self._children[worker] = await self._stack.enter_async_context(child)

    async def restart(self, worker: int) -> None:
        """`start` after the last one's death, and let it go on with its load."""
        await self.start(worker)
        await self[worker].ask(type(None), "go")

    async def rest(self) -> None:
        """End all load, let everybody hear the last of it, and have everybody read everything once more."""
        await self._all("rest")
        await asyncio.sleep(_HEARD_SECONDS)
        await self._all("look")

    async def _all(self, command: str) -> None:
        await asyncio.gather(*(child.ask(type(None), command) for child in self._children.values()))
