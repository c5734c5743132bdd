"""L2 and log on one Redis: a change is one script, and either done in both or found undone and made up for."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheCleared,
    Hit,
    InvalidationPublisher,
    KeysRemoved,
    LogRefused,
    LogUnavailable,
    ScopeCleared,
    StreamOptions,
)
from async_hybrid_cache.joint import L2Change, Leased
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.redis import RedisDistributedCache, RedisStreamsInvalidationBus, RedisStreamsLog
from async_hybrid_cache_brokers.redis import distributed as l2_scripts
from async_hybrid_cache_brokers.redis import joint as joint_scripts
from async_hybrid_cache_brokers.redis import log as log_scripts
from async_hybrid_cache_codecs.frames import open_frame
from tests.servers.server import Server
from tests.servers.valkey import ValkeyServer

SCRIPTS = {
    joint_scripts._APPEND.sha: "joint",
    log_scripts._APPEND.sha: "append",
    l2_scripts._DELETE.sha: "delete",
    l2_scripts._LEASE.sha: "lease",
    l2_scripts._FILL.sha: "fill",
    l2_scripts._CLEAR.sha: "clear",
}


class World:
    """One L2 and one log, by default on one server under names of their own; `cache` is one more instance."""

    def __init__(self, url: str, l2_url: str | None = None) -> None:
        self.name = uuid.uuid4().hex
        self.url = url
        self.l2_url = l2_url or url

    def l2(self) -> RedisDistributedCache:
        return RedisDistributedCache(Redis.from_url(self.l2_url), prefix=self.name)

    def log(self) -> RedisStreamsLog:
        return RedisStreamsLog(Redis.from_url(self.url), stream=f"{self.name}.log")

    def bus(self, **options: Any) -> RedisStreamsInvalidationBus:
        timing = {"retry_max_seconds": 0.05, "call_timeout_seconds": 0.5, "append_timeout_seconds": 0.3}
        stream = StreamOptions(**{**timing, **options})
        return RedisStreamsInvalidationBus(Redis.from_url(self.url), stream_key=f"{self.name}.log", stream=stream)

    def cache(self, **options: Any) -> AsyncHybridCache:
        return AsyncHybridCache(distributed_cache=self.l2(), invalidation_bus=self.bus(**options))

    async def entry(self, key: str, scope: str = "default") -> bytes | None:
        """What the server holds for it: a V for an entry, an L for a lease."""
        async with Redis.from_url(self.l2_url) as client:
            data: bytes | None = await client.get(f"{self.name}:{scope}:{key}")
            return data and data[:1]

    async def told(self, key: str) -> int:
        """How many records say that the key was removed."""
        async with Redis.from_url(self.url) as client:
            records = [fields[b"data"] for _, fields in await client.xrange(f"{self.name}.log")]
        events = [event for record in records for event in open_frame(record).events]
        return sum(1 for event in events if isinstance(event, KeysRemoved) and key in event.keys)


@asynccontextmanager
async def commands(url: str) -> AsyncIterator[list[str]]:
    """The scripts that the server is asked to run meanwhile; complete at the end."""
    ran: list[str] = []
    async with Redis.from_url(url) as client, client.monitor() as monitor:
        yield ran
        await client.echo("the end")
        async for seen in monitor.listen():
            words = seen["command"].split(" ")
            if words[0] == "ECHO":
                return
            if words[0] == "EVALSHA" and words[1] in SCRIPTS:
                ran.append(SCRIPTS[words[1]])


async def sent(cache: AsyncHybridCache) -> None:
    """Until nothing waits for the log."""
    stream = cache._stream
    assert stream is not None
    await eventually(lambda: not len(stream.outbox))


async def load(value: str) -> str:
    return value


async def warm(cache: AsyncHybridCache, *keys: str, value: str = "old") -> None:
    """Have `value` in both tiers, and every script known to the server."""
    for key in keys:
        assert await cache.get_or_set(key, lambda: load(value)) == value


def test_a_change_is_one_command_at_the_server(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with world.cache() as one, world.cache() as two:
            await one.remove("warm-up")
            await one.set("warm-up", 1)
            await warm(one, "a", "b", "c")
            await warm(two, "a", "b", "c")

            async with commands(world.url) as ran:
                position = (await one.remove("a", "b")).position
            assert ran == ["joint"]
            assert await world.entry("a") is await world.entry("b") is None
            assert await two.get_or_set("a", lambda: load("new"), at_least=position) == "new"

            async with commands(world.url) as ran:
                position = (await one.set("c", "set")).position
            assert ran == ["joint", "fill"]
            assert await two.get_or_set("c", lambda: load("not asked"), at_least=position) == "set"

            async with commands(world.url) as ran:
                position = (await one.clear(scope="default")).position
            assert ran == ["joint"]
            assert await two.get_or_set("c", lambda: load("after a clear"), at_least=position) == "after a clear"

            async with commands(world.url) as ran:
                await one.clear()
            assert ran == ["joint"]

    asyncio.run(main())


def test_a_change_of_the_data_holds_a_lease_that_nobody_fills(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with world.cache() as cache:
            await warm(cache, "k")
            await cache.remove("warm-up")
            async with commands(world.url) as ran:
                async with cache.invalidating("k"):
                    assert await world.entry("k") == b"L"
                assert await world.entry("k") is None
            assert "delete" not in ran
            assert "lease" not in ran

    asyncio.run(main())


def test_what_is_removed_at_once_leaves_together(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with world.cache() as cache:
            await cache.remove("warm-up")
            keys = [str(number) for number in range(200)]
            await warm(cache, *keys)
            async with commands(world.url) as ran:
                await asyncio.gather(*map(cache.remove, keys))
            assert set(ran) == {"joint"}
            assert len(ran) <= 2
            assert [await world.entry(key) for key in keys] == [None] * 200

    asyncio.run(main())


@pytest.mark.parametrize("other", ["another server", "another database", "another kind of pool"])
def test_elsewhere_there_are_two_steps(own_valkey: ValkeyServer, valkey: Server, other: str) -> None:
    class Found(Connection):
        """As those of Sentinel do, it asks somebody where the server is."""

    async def main() -> None:
        l2_url = {"another server": valkey.url, "another database": own_valkey.url[:-1] + "1"}.get(other)
        world = World(own_valkey.url, l2_url)
        l2, bus = world.l2(), world.bus()
        if l2_url is None:
            pool = ConnectionPool.from_url(world.url, connection_class=Found)
            l2 = RedisDistributedCache(Redis(connection_pool=pool), prefix=world.name)
            bus = RedisStreamsInvalidationBus(Redis(connection_pool=pool), stream_key=f"{world.name}.log")
        async with AsyncHybridCache(distributed_cache=l2, invalidation_bus=bus) as cache:
            await warm(cache, "a")
            await cache.remove("warm-up")
            async with commands(world.url) as at_log, commands(world.l2_url) as at_l2:
                assert (await cache.remove("a")).position
            assert at_log == (["append"] if l2_url == valkey.url else ["delete", "append"])
            assert at_l2[:1] == ["delete"]
            assert await world.entry("a") is None

    asyncio.run(main())


def test_a_place_is_known_by_server_database_and_user() -> None:
    def joined(one: Redis, two: Redis) -> bool:
        return RedisDistributedCache(one).joined(RedisStreamsLog(two)) is not None

    class Derived(RedisStreamsLog):
        pass

    here = Redis.from_url("redis://127.0.0.1:7000/0")
    assert joined(here, here)
    assert joined(here, Redis(host="127.0.0.1", port=7000))
    assert joined(here, Redis(connection_pool=BlockingConnectionPool(host="127.0.0.1", port=7000)))
    assert joined(Redis(), Redis(host="localhost", port=6379))
    assert joined(Redis(unix_socket_path="/run/a"), Redis.from_url("unix:///run/a"))
    assert not joined(Redis(unix_socket_path="/run/a"), Redis(unix_socket_path="/run/b"))
    for url in ("redis://127.0.0.1:7001/0", "redis://127.0.0.1:7000/1", "redis://127.0.0.2:7000/0"):
        assert not joined(here, Redis.from_url(url))
    assert not joined(here, Redis.from_url("redis://somebody:secret@127.0.0.1:7000/0"))
    assert not joined(here, Redis(connection_pool=ConnectionPool(SSLConnection, host="127.0.0.1", port=7000)))
    assert RedisDistributedCache(here).joined(Derived(here)) is None


def test_a_publisher_takes_two_steps(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with (
            world.cache() as cache,
            InvalidationPublisher(invalidation_bus=world.bus(), new_distributed_cache=world.l2) as sender,
        ):
            await sender.remove("warm-up")
            await warm(cache, "a")
            async with commands(world.url) as ran:
                await sender.remove("a")
            assert ran == ["delete", "append"]

    asyncio.run(main())


def test_a_repeat_of_unknown_fate_deletes_no_newer_entry(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        l2, log, other = world.l2(), world.log(), world.log()
        await l2.open()
        await log.open()
        await other.open()
        append = l2.joined(log)
        assert append is not None
        changes = [KeysRemoved("s", ("a",)), Leased("s", ("b",), "token", 60.0), ScopeCleared("t")]
        first = await append(b"first", "1", changes)
        own_valkey.stop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await append(b"second", "2", changes)
        own_valkey.cont()
        await eventually(lambda: last_is(other, first.offset + 1), message="the frozen server never executed it")
        for scope, key in (("s", "a"), ("s", "b"), ("t", "c")):
            token = await l2.lease(scope, key, lease_seconds=60)
            assert await l2.fill(scope, key, b"newer", stamp=first, ttl=60, token=token)
        await log.open()
        assert await append(b"second", "2", changes) == Position(first.epoch, first.offset + 1)
        for scope, key in (("s", "a"), ("s", "b"), ("t", "c")):
            assert isinstance(await l2.get(scope, key, oldest=ORIGIN, lease_seconds=0), Hit)
        assert await last_is(other, first.offset + 1)
        await asyncio.gather(l2.close(), log.close(), other.close())

    asyncio.run(main())


async def last_is(log: RedisStreamsLog, last: int) -> bool:
    return (await log.bounds()).last == last


def test_changes_are_made_in_their_order(valkey: Server) -> None:
    async def main() -> None:
        world = World(valkey.url)
        l2, log = world.l2(), world.log()
        await l2.open()
        await log.open()
        append = l2.joined(log)
        assert append is not None
        lease, removed = Leased("s", ("k",), "token", 60.0), KeysRemoved("s", ("k",))
        for number, (changes, kept) in enumerate(
            (
                ([lease], True),
                ([removed, lease], True),
                ([lease, removed], False),
                ([ScopeCleared("s"), lease], True),
                ([lease, ScopeCleared("s")], False),
                ([CacheCleared(), lease], True),
                ([lease, CacheCleared()], False),
                ([lease, ScopeCleared("t"), KeysRemoved("s", ("other",))], True),
                ([lease, Leased("s", ("k",), "later", 60.0)], False),
            )
        ):
            await append(b"", str(number), changes)
            filled = await l2.fill("s", "k", b"x", stamp=ORIGIN, ttl=60, token="token")
            assert filled is kept, changes
        await asyncio.gather(l2.close(), log.close())

    asyncio.run(main())


@pytest.mark.parametrize(
    "change", [KeysRemoved("s", ("k",)), Leased("s", ("k",), "b", 60), ScopeCleared("s"), CacheCleared()]
)
def test_who_waits_for_a_lease_is_woken(valkey: Server, change: L2Change) -> None:
    async def main() -> None:
        world = World(valkey.url)
        l2, log = world.l2(), world.log()
        await l2.open()
        await log.open()
        append = l2.joined(log)
        assert append is not None
        await l2.lease("s", "k", lease_seconds=600)
        async with l2.watch("s", "k") as ended:
            ended.clear()
            await append(b"", "1", [change])
            async with asyncio.timeout(5):
                await ended.wait()
        await asyncio.gather(l2.close(), log.close())

    asyncio.run(main())


def test_nothing_is_changed_where_the_log_has_another_epoch(valkey: Server) -> None:
    async def main() -> None:
        world = World(valkey.url)
        async with world.cache() as cache, Redis.from_url(world.url) as client:
            await warm(cache, "a")
            await client.delete(f"{world.name}.log")
            await cache.remove("a")
            await sent(cache)
            await eventually(lambda: gone(world, "a"))
            assert await world.told("a")

    asyncio.run(main())


async def gone(world: World, key: str) -> bool:
    return await world.entry(key) is None


def test_a_script_that_is_refused_is_given_up_for_two_steps(
    own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with Redis.from_url(world.url) as client, world.cache() as cache, world.cache() as other:
            await warm(cache, "a", "b")
            await warm(other, "a", "b")
            # as where somebody may not touch the keys of L2, a script may run, and not to its end
            await client.delete(f"{world.name}:default:a")
            await client.rpush(f"{world.name}:default:a", "of another program")
            with caplog.at_level(logging.WARNING, "async_hybrid_cache"):
                assert (await cache.remove("a")).queued
                await eventually(lambda: world.told("a"))
                await sent(cache)
                assert await other.get_or_set("a", lambda: load("new")) == "new"
                assert (await cache.remove("b")).position
                assert await world.told("b") == 1
            assert sum("one after the other" in record.message for record in caplog.records) == 1
            assert cache.stats().distributed.late_deletes == 1
            await client.delete(f"{world.name}:default:a")
            await eventually(lambda: cache.stats().distributed.late_deletes == 0)
            async with commands(world.url) as ran:
                await cache.remove("b")
            assert ran == ["delete", "append"]

    asyncio.run(main())


def test_a_user_without_rights_on_l2_still_tells_the_others(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with Redis.from_url(world.url) as client, world.cache() as cache:
            await client.acl_setuser(
                "limited", enabled=True, nopass=True, reset=True, keys=["*.log"], channels=["*"], categories=["+@all"]
            )
            limited = World(own_valkey.url.replace("://", "://limited:any@"))
            limited.name = world.name
            async with limited.cache() as other:
                await warm(cache, "a")
                await other.remove("a")
                await eventually(lambda: world.told("a"))
                assert await cache.get_or_set("a", lambda: load("new")) == "new"

    asyncio.run(main())


def test_a_server_that_refuses_for_a_while_is_asked_again(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with Redis.from_url(world.url) as client, world.cache() as cache:
            await warm(cache, "a")
            await cache.remove("warm-up")
            await client.config_set("min-replicas-to-write", 1)
            assert (await cache.remove("a")).queued
            await client.config_set("min-replicas-to-write", 0)
            await sent(cache)
            await eventually(lambda: gone(world, "a"))
            await eventually(lambda: cache.stats().distributed.late_deletes == 0)
            async with commands(world.url) as ran:
                await cache.remove("a")
            assert ran == ["joint"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), True),
        (ReadOnlyError("You can't write against a read only replica"), True),
        (MasterDownError("Link with MASTER is down"), True),
        (ResponseError("MISCONF Errors writing to the AOF file"), True),
        (ResponseError("BUSY The server is busy running a script"), True),
        (RedisConnectionError("the connection was lost"), True),
        (ResponseError("Write commands are not allowed from read-only scripts"), False),
    ],
)
def test_only_what_may_pass_is_tried_again_in_one_step(error: Exception, passing: bool) -> None:
    class Refusing(RedisStreamsLog):
        async def append_with(self, *_: object, **__: object) -> Position:
            raise LogUnavailable("refused") from error

    async def main() -> None:
        with pytest.raises(LogUnavailable if passing else LogRefused) as raised:
            await joint_scripts.Joint(Refusing(Redis()), "ahc").append(b"", "1", [CacheCleared()])
        assert isinstance(raised.value, LogRefused) is not passing
        assert raised.value.__cause__ is error

    asyncio.run(main())


def test_what_was_queued_while_the_server_was_gone_is_deleted_and_told(own_valkey: ValkeyServer) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        async with world.cache() as cache, world.cache() as other:
            await warm(cache, "a", "b")
            await warm(other, "a", "b")
            own_valkey.kill()
            receipts = await asyncio.gather(cache.remove("a"), cache.set("b", "set"))
            assert all(receipt.queued for receipt in receipts)
            assert await cache.get_or_set("a", lambda: load("new")) == "new"
            own_valkey.start()
            await sent(cache)
            await eventually(lambda: cache.stats().distributed.late_deletes == 0)
            position = (await cache.remove("last")).position
            assert await cache.get_or_set("a", lambda: load("new")) == "new"
            assert await other.get_or_set("a", lambda: load("new"), at_least=position) == "new"
            assert await other.get_or_set("b", lambda: load("new"), at_least=position) in ("new", "set")

    asyncio.run(main())


@pytest.mark.parametrize("how", ["in time", "cancelled", "raise"])
def test_an_answer_that_does_not_come_leaves_nothing_half_done(own_valkey: ValkeyServer, how: str) -> None:
    async def main() -> None:
        world = World(own_valkey.url)
        options = {"on_log_failure": "raise"} if how == "raise" else {}
        async with world.cache(**options) as cache, world.cache() as other:
            await warm(cache, "a")
            await warm(other, "a")
            own_valkey.stop()
            removing = asyncio.create_task(cache.remove("a"))
            if how == "cancelled":
                await asyncio.sleep(0)
                removing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await removing
            elif how == "raise":
                with pytest.raises(LogUnavailable):
                    await removing
            else:
                assert (await removing).queued
            assert await cache.get_or_set("a", lambda: load("new")) == "new"
            own_valkey.cont()
            await sent(cache)
            await eventually(lambda: cache.stats().distributed.late_deletes == 0)
            await eventually(lambda: world.told("a"))
            position = (await cache.remove("last")).position
            assert await other.get_or_set("a", lambda: load("new"), at_least=position) == "new"

    asyncio.run(main())
