"""Publishers on real servers: the instances drop what is named, from async code, plain code and forked workers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheClosed, LogUnavailable
from async_hybrid_cache.positions import Position
from async_hybrid_cache.publisher import InvalidationPublisher
from async_hybrid_cache.testing.waiting import eventually
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.server import LocalServer


class Reader:
    """A cache in a thread of its own, with an entry to lose."""

    def __init__(self, url: str, namespace: str) -> None:
        self.cache = AsyncHybridCache.from_url(url, namespace=namespace)
        self.value = "old"

    async def load(self) -> str:
        return self.value

    async def get(self, key: str) -> str:
        return await self.cache.get_or_set(key, self.load, scope="users")

    async def turns(self, key: str) -> None:
        """Wait until the entry is the new one."""

        async def new() -> bool:
            return await self.get(key) == "new"

        await eventually(new, timeout=3)


def test_an_instance_drops_what_is_published(url: str, namespace: str) -> None:
    async def scenario() -> None:
        reader = Reader(url, namespace)
        publisher = InvalidationPublisher.from_url(url, namespace=namespace, name="cron")
        async with reader.cache, publisher as publish:
            assert await reader.get("a") == await reader.get("b") == "old"
            reader.value = "new"
            assert await reader.get("a") == "old"
            receipt = await publish.remove("a", scope="users")
            assert receipt.position is not None
            await reader.turns("a")
            assert await reader.get("b") == "old"
            await publish.clear(scope="users")
            await reader.turns("b")
            stats = reader.cache.stats()
            assert stats.stream is not None
            assert stats.stream.gap_total == 0

    asyncio.run(scenario())


def test_plain_code_publishes_too(url: str, namespace: str) -> None:
    async def scenario() -> None:
        reader = Reader(url, namespace)
        async with reader.cache:
            await reader.get("a")
            reader.value = "new"
            await asyncio.to_thread(plain)
            await reader.turns("a")

    def plain() -> None:
        with InvalidationPublisher.from_url(url, namespace=namespace).sync() as publish:
            assert publish.remove("a", scope="users").position is not None

    asyncio.run(scenario())


def test_threads_share_one_and_it_can_be_used_again_after_close(url: str, namespace: str) -> None:
    publish = InvalidationPublisher.from_url(url, namespace=namespace).sync()
    before = threading.active_count()
    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(lambda n: publish.remove(str(n)), range(200)))
    assert len({receipt.position for receipt in receipts if receipt.position}) > 1
    publish.close()
    publish.close()
    # a connection's thread ends a moment after the connection
    asyncio.run(eventually(lambda: threading.active_count() <= before))
    assert publish.clear().position is not None
    assert publish.invalidate_tags("red").position is not None
    publish.close()


def test_a_server_that_is_away_is_told_in_bounded_time() -> None:
    publish = InvalidationPublisher.from_url(f"redis://{LOOPBACK}:{free_port()}/0", timeout_seconds=0.3).sync()
    for _ in range(2):
        with pytest.raises(LogUnavailable, match=r"could not be reached within 0\.3 s"):
            publish.remove("a")
    publish.close()


def test_close_during_a_call_is_told_to_the_caller(own_valkey: LocalServer) -> None:
    publish = InvalidationPublisher.from_url(own_valkey.url, timeout_seconds=30).sync()
    publish.remove("a")
    own_valkey.stop()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(publish.remove, "b")
        while not call.running():
            pass
        threading.Event().wait(0.1)
        publish.close()
        with pytest.raises(CacheClosed, match="closed during the call"):
            call.result(timeout=10)
    own_valkey.cont()


@pytest.mark.parametrize("kind", ["valkey", "nats"])
def test_a_server_killed_under_it_loses_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    server: LocalServer = request.getfixturevalue(f"own_{kind}")

    async def scenario() -> None:
        reader = Reader(server.url, "ahc")
        keys = [str(number) for number in range(300)]
        publisher = InvalidationPublisher.from_url(server.url, timeout_seconds=30)
        async with reader.cache, publisher as publish:
            for key in keys:
                await reader.get(key)
            reader.value = "new"
            restarting = asyncio.create_task(asyncio.to_thread(server.restart))
            positions: list[Position] = []
            while not restarting.done() or len(positions) < len(keys):
                receipt = await publish.remove(keys[len(positions) % len(keys)], scope="users")
                assert receipt.position is not None
                positions.append(receipt.position)
            await restarting
            assert positions == sorted(positions)
            for key in keys:
                await reader.turns(key)

    asyncio.run(scenario())


FORKED = """
import os, sys, threading, warnings
from async_hybrid_cache.publisher import InvalidationPublisher

warnings.simplefilter("error")
# what Python 3.12 warns of is the subject here
warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
url, namespace, before = sys.argv[1:]
publish = InvalidationPublisher.from_url(url, namespace=namespace).sync()
if before != "unused":
    publish.remove("parent")
if before == "closed":
    publish.close()

def worker(n):
    for i in range(20):
        assert publish.remove(f"{n}-{i}").position
    publish.close()

children = []
for n in range(4):
    pid = os.fork()
    if not pid:
        try:
            worker(n)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    children.append(pid)
for i in range(20):
    publish.remove(f"parent-{i}")
assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
publish.remove("after")
"""


@pytest.mark.parametrize("before", ["unused", "closed", "used"])
def test_forked_workers_publish_on_their_own(url: str, namespace: str, before: str, tmp_path: Path) -> None:
    """As in Celery: made in the parent, perhaps used there, then used in each of the workers."""

    async def scenario() -> None:
        reader = Reader(url, namespace)
        async with reader.cache:
            child = await asyncio.create_subprocess_exec(
                *[sys.executable, "-W", "error", "-c", FORKED, url, namespace, before],
                stderr=asyncio.subprocess.PIPE,
                cwd=tmp_path,
            )
            _, told = await asyncio.wait_for(child.communicate(), 60)
            if before == "used" and url.startswith("sqlite"):
                # what SQLite asks of us: a file that was open over a fork is not opened again
                assert b"this process was forked while" in told
                return
            assert (child.returncode, told.decode()) == (0, "")
            await eventually(lambda: reader.cache.stats().stream.lag == 0)  # type: ignore[union-attr]
            assert reader.cache.stats().stream.gap_total == 0  # type: ignore[union-attr]

    asyncio.run(scenario())


SCRIPT = """
import sys
from async_hybrid_cache.publisher import InvalidationPublisher

publish = InvalidationPublisher.from_url(sys.argv[1]).sync()
publish.remove("a")
"""


def test_a_script_that_ends_without_close_ends_clean(url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, url],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
