"""Watches of an L2 on servers that go away, and for users who may not watch."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.distributed import DistributedCache, Watchable
from async_hybrid_cache.errors import DistributedCacheError
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.distributed_contract import fill, get, no_lease, token_for
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.nats.address import Address
from async_hybrid_cache_brokers.nats.client import Connection
from async_hybrid_cache_brokers.redis import RedisDistributedCache
from async_hybrid_cache_brokers.redis.client import Link
from async_hybrid_cache_brokers.redis.watches import Watches as RedisWatches
from async_hybrid_cache_brokers.sqlite.watches import Watches
from tests.servers.server import LocalServer, Server


def l2_on(url: str) -> DistributedCache:
    l2 = find_broker(url).distributed_cache(url, namespace="watched")
    assert l2 is not None
    return l2


def watchable(l2: DistributedCache) -> Watchable:
    assert isinstance(l2, Watchable)
    return l2


@pytest.fixture(params=["own_valkey", "own_nats"])
def server(request: pytest.FixtureRequest) -> LocalServer:
    own: LocalServer = request.getfixturevalue(request.param)
    return own


def test_a_server_that_is_killed_wakes_who_watches_and_is_watched_again_when_it_is_back(server: LocalServer) -> None:
    async def main() -> None:
        l2, other = l2_on(server.url), l2_on(server.url)
        await l2.open()
        await other.open()
        async with watchable(l2).watch("scope", "key") as changed, asyncio.timeout(10):
            await asyncio.to_thread(server.kill)
            await changed.wait()
        with pytest.raises(DistributedCacheError):
            async with watchable(l2).watch("scope", "key"):
                pass
        await asyncio.to_thread(server.start)

        async def token() -> str | None:
            try:
                return await token_for(other, "again")
            except DistributedCacheError:
                return None

        live = await eventually(token, timeout=20)
        async with watchable(l2).watch("scope", "again") as changed, asyncio.timeout(10):
            assert no_lease(await get(l2, "again"))
            assert live
            assert await fill(other, "again", live)
            await changed.wait()
        await l2.close()
        await other.close()

    asyncio.run(main())


def test_a_watch_of_a_redis_that_hangs_is_given_up_and_the_next_connects_anew(own_valkey: LocalServer) -> None:
    async def main() -> None:
        with own_valkey.proxy() as proxy:
            l2, other = l2_on(proxy.url), l2_on(own_valkey.url)
            await l2.open()
            await other.open()
            async with watchable(l2).watch("scope", "key") as changed:
                proxy.stall()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3), watchable(l2).watch("scope", "other"):
                        pass
                assert changed.is_set(), "what shares a connection that hangs is not to be trusted either"
                proxy.flow()
            token = await token_for(other, "key")
            async with watchable(l2).watch("scope", "key") as changed, asyncio.timeout(10):
                await other.release("scope", "key", token=token)
                await changed.wait()
            await l2.close()
            await other.close()

    asyncio.run(main())


def test_a_redis_user_who_may_not_publish_nor_subscribe_loads(own_valkey: LocalServer) -> None:
    async def main() -> None:
        async with Redis.from_url(own_valkey.url) as redis:
            await redis.execute_command("ACL", "SETUSER", "deaf", "on", ">secret", "~*", "resetchannels", "+@all")
        deaf = own_valkey.url.replace("redis://", "redis://deaf:secret@")
        other = l2_on(own_valkey.url)
        await other.open()
        async with AsyncHybridCache(distributed_cache=l2_on(deaf)) as cache:
            await cache.set("filled", 1)
            await cache.remove("filled")
            await other.lease("default", "key", lease_seconds=9)

            async def load() -> str:
                return "loaded"

            async with asyncio.timeout(5):
                assert await cache.get_or_set("key", load) == "loaded"
            stats = cache.stats().distributed
            assert (stats.state, stats.fills, stats.errors, stats.waits, stats.waits_failed) == ("up", 1, 0, 0, 1)
        await other.close()

    asyncio.run(main())


@asynccontextmanager
async def without_unsubscribe(server: LocalServer) -> AsyncIterator[tuple[DistributedCache, DistributedCache]]:
    """The L2 of a user who may not unsubscribe, and that of one who may do anything."""
    async with Redis.from_url(server.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "bound", "on", ">secret", "~*", "&*", "+@all", "-unsubscribe")
    l2, other = l2_on(server.url.replace("redis://", "redis://bound:secret@")), l2_on(server.url)
    await l2.open()
    await other.open()
    try:
        yield l2, other
    finally:
        await l2.close()
        await other.close()


def test_a_redis_user_who_may_not_unsubscribe_is_woken_all_the_same(own_valkey: LocalServer) -> None:
    async def main() -> None:
        async with without_unsubscribe(own_valkey) as (l2, other):
            for key in "abc":
                token = await token_for(other, key)
                async with asyncio.timeout(5), watchable(l2).watch("scope", key) as changed:
                    await other.release("scope", key, token=token)
                    await changed.wait()

    asyncio.run(main())


def test_a_refused_unsubscribe_is_no_answer_to_the_next_subscribe(own_valkey: LocalServer) -> None:
    async def main() -> None:
        async with without_unsubscribe(own_valkey) as (l2, other):
            tokens = {key: await token_for(other, key) for key in "abcdef"}
            for key, token in tokens.items():
                # the refusal of the last one's end is still on its way
                async with asyncio.timeout(5), watchable(l2).watch("scope", key) as changed:
                    await other.release("scope", key, token=token)
                    await changed.wait()

    asyncio.run(main())


def test_a_redis_that_is_lost_while_it_is_asked_for_the_first_watch_answers_the_next(
    valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Link.send

    async def lost(link: Link, *command: Any) -> None:
        monkeypatch.undo()
        await send(link, *command)
        await link.drop()
        await asyncio.sleep(0.01)

    async def main() -> None:
        l2 = l2_on(valkey.url)
        await l2.open()
        monkeypatch.setattr(Link, "send", lost)
        with pytest.raises(DistributedCacheError):
            async with watchable(l2).watch("scope", "key"):
                pass
        token = await token_for(l2, "key")
        async with asyncio.timeout(5), watchable(l2).watch("scope", "key") as changed:
            await l2.release("scope", "key", token=token)
            await changed.wait()
        await l2.close()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["a message is not understood", "the task is cancelled"])
def test_a_redis_connection_that_is_read_no_more_wakes_everybody_and_is_made_anew(
    how: str, valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake = RedisWatches._wake

    def not_understood(watches: RedisWatches, channel: bytes | None) -> None:
        if channel is not None:
            raise ValueError("not understood")
        wake(watches, channel)

    async def main() -> None:
        l2 = RedisDistributedCache(Redis.from_url(valkey.url), prefix="unread")
        await l2.open()
        async with watchable(l2).watch("scope", "key") as one, watchable(l2).watch("scope", "other") as two:
            assert l2._watches is not None
            assert l2._watches._reading is not None
            if how == "the task is cancelled":
                l2._watches._reading.cancel()
            else:
                monkeypatch.setattr(RedisWatches, "_wake", not_understood)
                await l2.release("scope", "key", token=await token_for(l2, "key"))
            async with asyncio.timeout(5):
                await one.wait()
                await two.wait()
        monkeypatch.undo()
        token = await token_for(l2, "key")
        async with asyncio.timeout(5), watchable(l2).watch("scope", "key") as changed:
            await l2.release("scope", "key", token=token)
            await changed.wait()
        await l2.close()
        await l2._redis.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_closing_while_a_watch_connects_to_redis_leaves_no_connection(
    valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        l2, connect = l2_on(valkey.url), Link.connect
        await l2.open()

        async def closed_meanwhile(link: Link) -> None:
            await connect(link)
            await l2.close()

        monkeypatch.setattr(Link, "connect", closed_meanwhile)
        with pytest.raises(DistributedCacheError):
            async with watchable(l2).watch("scope", "key"):
                pass
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_nats_connection_that_was_lost_before_wakes_who_begins_to_watch(nats: Server) -> None:
    async def main() -> None:
        connection, lost = Connection(Address(nats.url)), list[int]()
        await connection.connect()
        with connection.losing(lambda: lost.append(1)):
            assert not lost
        await connection.drop()
        with connection.losing(lambda: lost.append(2)):
            assert lost == [2]

    asyncio.run(main())


def test_the_socket_of_sqlite_is_there_only_while_somebody_watches(tmp_path: Path) -> None:
    async def main() -> None:
        watches, other = Watches(str(tmp_path / "cache.db")), Watches(str(tmp_path / "cache.db"))
        other.wake("scope", ["key"])
        async with watches.watch("scope", "key") as first, watches.watch("scope", "another") as second:
            assert len(os.listdir(watches._folder)) == 1
            other.wake("scope", ["key"])
            await eventually(first.is_set)
            assert not second.is_set()
            other.wake("scope", [str(number) for number in range(1000)])
            await eventually(second.is_set)
        with pytest.raises(FileNotFoundError):
            os.listdir(watches._folder)
        async with watches.watch("scope", "key") as changed:
            watches.close()
            assert changed.is_set()
        other.close()

    asyncio.run(main())


def test_a_burst_that_overflows_the_socket_of_sqlite_wakes_everybody(tmp_path: Path) -> None:
    async def main() -> None:
        watches, other = Watches(str(tmp_path / "cache.db")), Watches(str(tmp_path / "cache.db"))
        async with watches.watch("scope", "last") as last:
            # more than any queue holds, and nobody reads meanwhile
            for number in range(2000):
                other.wake("scope", [f"key-{number}"])
            other.wake("scope", ["last"])
            await eventually(last.is_set)
        watches.close()
        other.close()

    asyncio.run(main())
