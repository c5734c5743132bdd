"""A key that no process has, read by many callers in each of four."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from redis.asyncio import Redis

from async_hybrid_cache.testing.waiting import eventually
from tests.faults.places import Place
from tests.servers.valkey import ValkeyServer

PROCESSES = 4
CALLERS = 100
_ROOT = Path(__file__).parents[2]
_ANSWER_SECONDS = 30.0


class Worker:
    """A `cold_worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def read(self, key: str, seconds: float) -> None:
        """Begin to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([key, CALLERS, seconds]).encode() + b"\n")

    async def answer(self) -> Any:
        """The values that were read, and how long that took."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_ANSWER_SECONDS):
            return json.loads(await self.process.stdout.readline())


class Fleet:
    """Four workers, and what they note of their loads."""

    def __init__(self, loads: Path, workers: list[Worker]) -> None:
        self._loads = loads
        self.workers = workers

    def loads(self, key: str) -> list[int]:
        """The process ids of those who loaded `key`."""
        lines = self._loads.read_text().splitlines() if self._loads.exists() else []
        return [int(pid) for name, pid in map(str.split, lines) if name == key]


@asynccontextmanager
async def fleet(folder: Path, url: str, namespace: str, lease_seconds: float) -> AsyncIterator[Fleet]:
    """Four workers that are ready."""
    loads = folder / "loads"
    arguments = ("-W", "error", "-m", "tests.faults.cold_worker", str(loads), url, namespace, str(lease_seconds))
    pipe = asyncio.subprocess.PIPE
    workers: list[Worker] = []
    try:
        for _ in range(PROCESSES):
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=_ROOT, stdin=pipe, stdout=pipe
            )
            workers.append(Worker(process))
        for worker in workers:
            assert await worker.answer() == []
        yield Fleet(loads, workers)
    finally:
        for worker in workers:
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.process.communicate()


def test_one_loads_what_400_callers_in_four_processes_want(l2_place: Place, tmp_path: Path) -> None:
    """And where that one is killed, one of the others does, once its lease has ended."""

    async def main() -> None:
        async with fleet(tmp_path, l2_place.url, l2_place.namespace, 4) as cold:
            for worker in cold.workers:
                worker.read("k", 0.3)
            for worker in cold.workers:
                assert (await worker.answer())[0] == ["value of k"]
            assert len(cold.loads("k")) == 1

            holder, *others = cold.workers
            began = monotonic()
            holder.read("next", 60)
            await eventually(lambda: cold.loads("next"))
            for worker in others:
                worker.read("next", 0.1)
            holder.process.kill()
            for worker in others:
                assert (await worker.answer())[0] == ["value of next"]
            # NATS: a client's notion of the server's clock is ahead by up to a round trip
            assert monotonic() - began >= 2, "somebody loaded while the lease held"
            assert len(cold.loads("next")) == 2

    asyncio.run(main())


def test_400_callers_cost_redis_a_handful_of_commands(
    own_valkey: ValkeyServer, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async def main() -> None:
        async with fleet(tmp_path, own_valkey.url, "cold", 20) as cold, Redis.from_url(own_valkey.url) as redis:

            async def herd(key: str) -> dict[str, int]:
                await redis.config_resetstat()
                for worker in cold.workers:
                    worker.read(key, 0.5)
                for worker in cold.workers:
                    values, _ = await worker.answer()
                    assert values == [f"value of {key}"]
                assert len(cold.loads(key)) == 1
                stats: dict[str, Any] = await redis.info("commandstats")
                sent = ("eval", "evalsha", "subscribe", "unsubscribe")
                return {name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in sent}

            await herd("first")  # it brings the server the scripts
            commands = await herd("k")
            told = ", ".join(f"{count} {name.upper()}" for name, count in commands.items() if count)
            record_property(
                "measured", f"{PROCESSES} processes, {CALLERS} callers each on one cold key: 1 load, {told}"
            )
            # one who loads: a read and a fill; three who wait: a read, SUBSCRIBE, a read, UNSUBSCRIBE, a read;
            # and whoever loaded before and waits now subscribes to clears as well
            assert sum(commands.values()) <= 2 + 3 * 5 + 1

    asyncio.run(main())
