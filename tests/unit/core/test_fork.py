"""A cache carried over a fork (gunicorn preload): works, or says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, os, sys, warnings
from pathlib import Path
from async_hybrid_cache import AsyncHybridCache, CacheClosed
from async_hybrid_cache_brokers.sqlite import SqliteInvalidationBus

warnings.simplefilter("error")
# what Python 3.12 warns of is the subject here
warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
cache = AsyncHybridCache(invalidation_bus=SqliteInvalidationBus(sys.argv[1]), snapshot=sys.argv[1] + ".l1")

@cache.cached("k")
async def load():
    return os.getpid()

async def started_here():
    async with cache:
        assert await load.refresh_cached() == os.getpid()
        assert (await cache.remove("x")).position is not None
        assert cache.health().status == "ok", cache.health()
    return cache.stats().stream.instance

async def refused():
    for call in (cache.start, load, lambda: cache.remove("x")):
        try:
            await call()
        except CacheClosed as error:
            assert "call start() in each worker, after the fork" in str(error), error
        else:
            raise AssertionError("it went on with the parent's connections")
    assert cache.health().status == "stopped"
    await cache.stop()

def in_child(function):
    read, write = os.pipe()
    if not (pid := os.fork()):
        try:
            os.write(write, str(function()).encode())
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write)
    told = os.read(read, 1000).decode()
    os.close(read)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return told
"""

BEFORE = """
workers = [in_child(lambda: asyncio.run(started_here())) for _ in range(3)]
workers.append(asyncio.run(started_here()))
assert len(set(workers)) == 4, workers
"""

AFTER = """
async def parent():
    async with cache:
        await load()
        in_child(lambda: (asyncio._set_running_loop(None), asyncio.run(refused())))
        from async_hybrid_cache.snapshot.slot import FileSlot
        assert FileSlot.claim(Path(sys.argv[1] + ".l1")).file.name.endswith(".l1.1"), "the child gave it away"
        assert await load() == os.getpid()
        assert (await cache.remove("x")).position is not None
        assert cache.health().status == "ok"

asyncio.run(parent())
"""

STOPPED = """
import gc
gc.disable()  # what was closed may still be alive
asyncio.run(started_here())
in_child(lambda: asyncio.run(started_here()))
asyncio.run(started_here())
"""


def run(tmp_path: Path, body: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body, str(tmp_path / "log.db")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_cache_built_before_the_fork_starts_in_each_worker(tmp_path: Path) -> None:
    run(tmp_path, BEFORE)


def test_a_cache_started_before_the_fork_says_what_to_do(tmp_path: Path) -> None:
    run(tmp_path, AFTER)


def test_a_cache_stopped_before_the_fork_starts_again(tmp_path: Path) -> None:
    run(tmp_path, STOPPED)
