"""One of three instances is restarted under load: it serves what it had, and nothing that was changed meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.places import Place, SqlitePlace
from tests.faults.versions import Versions
from tests.faults.warm_worker import new_cache

KEYS = 50_000
# so that most keys are still true after a restart, however long it takes
CHANGING = KEYS // 20
KILLS = 20
_ROOT = Path(__file__).parents[2]


class Worker:
    """A `warm_worker` as its parent sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def answer(self) -> dict[str, Any]:
        """The next line that it says."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            answer: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return answer

    async def read_all(self) -> dict[str, Any]:
        """Let it read every key once."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return await self.answer()

    async def stop(self) -> None:
        """Let it end in good order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await self.process.wait() == 0


@asynccontextmanager
async def worker(place: Place, folder: Path, count: int, seconds: float) -> AsyncIterator[Worker]:
    """A process that has started, and is killed at the end where it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "tests.faults.warm_worker", place.url, place.namespace,
        str(folder / "versions"), str(count), str(folder / "state" / "l1"), str(seconds),
        cwd=_ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        started = Worker(process)
        assert "started" in await started.answer()
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def write_on(cache: AsyncHybridCache, versions: Versions, count: int, rng: random.Random) -> None:
    """Change and announce one after the other of the first `count` keys, for ever."""
    while True:
        number = rng.randrange(count)
        versions.current[number] += 1
        version = versions.current[number]
        if not (await cache.remove(str(number))).queued:
            versions.announced[number] = version
        await asyncio.sleep(0.005)


async def written_again(process: Worker) -> dict[str, Any]:
    """What it saw, once a snapshot was begun and ended after everything was read."""
    found = await process.read_all()
    more = found["written"] + 2

    async def written() -> bool:
        nonlocal found
        found = await process.read_all()
        return bool(found["written"] >= more)

    await eventually(written, timeout=60)
    return found


async def changed_meanwhile(versions: Versions) -> None:
    """Wait until enough was changed that a process which is away now has something to miss."""
    before = sum(versions.current)
    await eventually(lambda: sum(versions.current) > before + 100)


@promise(7, fault="process killed")
def test_a_restart_under_load_is_warm_and_true(
    place: Place, tmp_path: Path, record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> None:
    async def main() -> None:
        with Versions(tmp_path / "versions", KEYS) as versions:
            async with (
                new_cache(place.url, place.namespace) as one,
                new_cache(place.url, place.namespace) as two,
            ):
                rng = random.Random(5)
                load = [asyncio.create_task(write_on(cache, versions, CHANGING, rng)) for cache in (one, two)]
                try:
                    async with worker(place, tmp_path, KEYS, 0.5) as third:
                        cold = await third.read_all()
                        await written_again(third)
                        third.process.kill()
                        await third.process.wait()
                    await changed_meanwhile(versions)
                    async with worker(place, tmp_path, KEYS, 30) as third:
                        killed = await third.read_all()
                        await third.stop()
                    await changed_meanwhile(versions)
                    async with worker(place, tmp_path, KEYS, 30) as third:
                        stopped = await third.read_all()
                        for task in load:
                            task.cancel()
                        await asyncio.wait(load)

                        async def true() -> bool:
                            return (await third.read_all())["behind"] == 0  # type: ignore[no-any-return]

                        await eventually(true, timeout=5, message="an old value is still served")
                finally:
                    for task in load:
                        task.cancel()
            changes = sum(versions.current)
        record_property(
            "measured",
            f"{request.node.callspec.id}: loads in a pass over {KEYS} keys, {changes} changes meanwhile: "
            f"cold {cold['loads']}, after a kill {killed['loads']}, after a stop {stopped['loads']}; "
            f"seconds: {cold['seconds']:.1f}, {killed['seconds']:.1f}, {stopped['seconds']:.1f}",
        )
        assert cold["loads"] >= KEYS
        for warm in (killed, stopped):
            assert warm["stale"] == warm["thrown_away"] == warm["failures"] == 0, warm
            assert warm["restored"] > KEYS * 0.9
            assert 0 < warm["loads"] < KEYS * 0.1

    asyncio.run(main())


def test_a_process_killed_while_it_writes_leaves_a_whole_snapshot(sqlite_place: SqlitePlace, tmp_path: Path) -> None:
    count = 2000
    rng = random.Random(7)

    async def main() -> None:
        with Versions(tmp_path / "versions", count) as versions:
            async with new_cache(sqlite_place.url, sqlite_place.namespace) as writer:
                load = asyncio.create_task(write_on(writer, versions, count // 4, rng))
                try:
                    for kill in range(KILLS):
                        async with worker(sqlite_place, tmp_path, count, 0.001) as victim:
                            seen = await victim.read_all()
                            assert seen["stale"] == seen["thrown_away"] == seen["failures"] == 0, seen
                            assert seen["restored"] > (count * 0.5 if kill else -1)
                            if not kill:
                                await written_again(victim)
                            await asyncio.sleep(rng.random() * 0.1)
                finally:
                    load.cancel()
        assert {path.name for path in (tmp_path / "state").iterdir()} <= {"l1.0", "l1.0.new", "l1.0.lock"}

    asyncio.run(main())
