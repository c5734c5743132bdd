"""The NATS L2 when its server dies, freezes, refuses or is not there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic
from uuid import uuid4

import psutil
import pytest

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import DistributedCacheError
from async_hybrid_cache.positions import ORIGIN
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.nats.distributed import NatsKVDistributedCache
from tests.servers.nats import NatsServer
from tests.servers.server import LocalServer, User
from tests.unit.brokers.nats_support import caught, fill, get, leased, opened, store


def sockets(port: int) -> int:
    """Connections of this process to `port`."""
    found = psutil.Process(os.getpid()).net_connections("tcp")
    return sum(1 for each in found if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED")


def test_a_killed_server_loses_no_lease_and_brings_nothing_back(own_nats: LocalServer) -> None:
    async def main() -> None:
        async with opened(own_nats.url) as l2:
            for key in ("kept", "deleted"):
                await store(l2, key)
            await l2.fill("t", "k", b"", stamp=ORIGIN, ttl=60, token=await l2.lease("t", "k", lease_seconds=60))
            token, void = await leased(l2, "leased"), await leased(l2, "void")
            await l2.delete("s", ["deleted", "void"])
            await l2.clear("t")
            own_nats.restart()
            connection = l2._bucket._connection
            await eventually(lambda: connection is not None and not connection.alive)
            # the first call finds the connection lost, and makes it anew
            assert await fill(l2, "leased", token, b"in time")
            assert not await fill(l2, "void", void)
            assert await get(l2, "deleted", lease=0) == Miss(None)
            # the server may bring back the lease that the entry had replaced; it ends by itself
            assert isinstance(await l2.get("t", "k", oldest=ORIGIN, lease_seconds=0), Miss)
            for key, data in (("kept", b"data"), ("leased", b"in time")):
                found = await get(l2, key)
                assert isinstance(found, Hit)
                assert found.data == data

    asyncio.run(main())


def test_a_server_that_is_away_fails_every_call_at_once_and_is_found_again(own_nats: LocalServer) -> None:
    async def main() -> None:
        async with opened(own_nats.url) as l2:
            await store(l2, "key")
            own_nats.kill()
            began = monotonic()
            calls = [
                get(l2, "key"),
                l2.lease("s", "key", lease_seconds=1),
                fill(l2, "key", await leased_later(l2)),
                l2.release("s", "key", token=await leased_later(l2)),
                l2.delete("s", ["key"]),
                l2.clear(None),
                l2.open(),
            ]
            for answer in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(answer, DistributedCacheError)
                assert answer.__cause__ is not None
            assert monotonic() - began < 5
            own_nats.start()
            await asyncio.gather(*(get(l2, "key") for _ in range(50)))
            assert sockets(own_nats.port) == 1
        assert sockets(own_nats.port) == 0

    async def leased_later(l2: NatsKVDistributedCache) -> str:
        return f"{int(l2._bucket.now() * 1000) + 60_000}-1"

    asyncio.run(main())


def test_a_frozen_server_holds_nobody_up(own_nats: LocalServer) -> None:
    async def main() -> None:
        l2 = NatsKVDistributedCache(own_nats.url)
        await l2.open()
        own_nats.stop()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.gather(*(get(l2, str(n)) for n in range(20)))
        pending = [asyncio.ensure_future(get(l2, "key")), asyncio.ensure_future(l2.clear(None))]
        await asyncio.wait(pending, timeout=0.05)
        began = monotonic()
        await l2.close()
        assert monotonic() - began < 1.5
        for answer in await asyncio.gather(*pending, return_exceptions=True):
            assert isinstance(answer, DistributedCacheError)
        await eventually(lambda: sockets(own_nats.port) == 0)
        opening = asyncio.ensure_future(l2.open())
        await asyncio.wait({opening}, timeout=0.05)
        await l2.close()
        own_nats.cont()
        await opening
        assert sockets(own_nats.port) == 0, "closed while it was opened"
        await l2.open()
        await store(l2, "key")
        await l2.close()

    asyncio.run(main())


def test_it_is_not_open_before_open_and_after_close(own_nats: LocalServer) -> None:
    async def main() -> None:
        l2 = NatsKVDistributedCache(own_nats.url)
        for _ in range(2):
            for call in (get(l2, "key"), l2.delete("s", ["key"]), l2.clear(None)):
                with pytest.raises(DistributedCacheError, match="not open"):
                    await call
            await l2.open()
            await l2.open()
            await store(l2, "key")
            await l2.close()

    asyncio.run(main())


def test_who_may_not_create_uses_what_is_there_and_else_is_told_what_to_create(tmp_path: Path) -> None:
    creator, user = User("creator", "s3cret-1"), User("user", "s3cret-2", creates=False)
    server = NatsServer(tmp_path, users=[creator, user])

    async def main() -> None:
        bucket = f"test-{uuid4()}"
        refused = NatsKVDistributedCache(server.url_of(user), bucket=bucket)
        with pytest.raises(DistributedCacheError, match=f"KV_{bucket}.*allow_msg_ttl=true") as told:
            await refused.open()
        await refused.close()
        async with opened(server.url_of(creator), bucket) as l2, opened(server.url_of(user), bucket) as other:
            await store(l2, "key")
            assert isinstance(await get(other, "key"), Hit)
            await other.clear(None)
            assert isinstance(await get(l2, "key"), Miss)
        wrong = NatsKVDistributedCache(server.url_of(User("user", "wr0ng")), bucket=bucket)
        with pytest.raises(DistributedCacheError) as unknown:
            await wrong.open()
        await wrong.close()
        for error in (told.value, unknown.value):
            text = caught(error) + caught(error.__cause__ or error)
            assert not any(secret in text for secret in ("s3cret", "wr0ng"))

    server.open()
    try:
        asyncio.run(main())
    finally:
        server.close()
