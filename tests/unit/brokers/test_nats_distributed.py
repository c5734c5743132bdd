"""The L2 on NATS: records, revisions, time, buckets."""

from __future__ import annotations

import asyncio
import json
import re
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import ConfigurationError, DistributedCacheError
from async_hybrid_cache.positions import Position
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.nats import bucket as bucket_module
from async_hybrid_cache_brokers.nats.client import Connection
from async_hybrid_cache_brokers.nats.distributed import NatsKVDistributedCache
from async_hybrid_cache_brokers.nats.names import token
from async_hybrid_cache_codecs.msgpack import MsgpackSerializer
from tests.servers.server import Server
from tests.unit.brokers.nats_support import P, connected, fill, get, leased, messages, opened, store


def test_tokens_of_subjects_are_valid_and_differ() -> None:
    texts = [
        *("", "a", "A", "a.b", "a=2Eb", "=2E", "=", "==", "*", ">", " ", "\0", "\r\n", "$KV", "user:1", "user/1"),
        *("ключ", "🔑", "e\u0301", "\u00e9", "\ud800", "k" * 200, "k" * 201, "k" * 5000, ":" * 100),
    ]
    tokens = [token(text) for text in texts]
    assert len(set(tokens)) == len(texts)
    for found in tokens:
        assert re.fullmatch(r"[A-Za-z0-9_/=-]{1,200}", found)
    assert token("users_by-id/1") == "users_by-id/1"
    assert token("user:1") == "user=3A1"


@pytest.mark.parametrize("bucket", ["", "a.b", "a b", "a*", "ключ", "x" * 201, None])
def test_a_bucket_needs_a_name_that_nats_takes(bucket: str) -> None:
    with pytest.raises(ConfigurationError, match="bucket"):
        NatsKVDistributedCache("nats://localhost", bucket=bucket)


def test_options_are_checked_where_they_are_given() -> None:
    with pytest.raises(ConfigurationError, match="replicas"):
        NatsKVDistributedCache("nats://localhost", replicas=0)
    with pytest.raises(ConfigurationError, match="max_bytes"):
        NatsKVDistributedCache("nats://localhost", max_bytes=0)
    with pytest.raises(ConfigurationError, match="serializer"):
        NatsKVDistributedCache("nats://localhost", serializer="json")  # type: ignore[arg-type]
    l2 = NatsKVDistributedCache("nats://me:s3cret@localhost", bucket="mine")
    assert repr(l2) == "NatsKVDistributedCache('mine')"
    assert isinstance(l2.serializer, MsgpackSerializer)


def test_the_server_removes_what_expired_and_what_was_deleted(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(nats.url, bucket) as l2, connected(nats.url) as connection:
            held = messages(connection, bucket)
            await store(l2, "entry", ttl=0.2)
            await l2.lease("s", "lease", lease_seconds=0.2)
            await store(l2, "kept", ttl=1e300)
            await l2.release("s", "released", token=await leased(l2, "released"))
            await l2.delete("s", ["entry 2", "missing"])
            await l2.clear("other")
            assert await held() > 1

            async def one_is_left() -> bool:
                return await held() == 1

            await eventually(one_is_left, message="the server keeps what nobody needs")
            assert isinstance(await get(l2, "kept"), Hit)

    asyncio.run(main())


def test_whatever_is_written_under_a_key_voids_its_lease(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(nats.url, bucket) as l2, connected(nats.url) as connection:
            for number, foreign in enumerate((b"", b"V", b"L", b"V" * 24, b"L" * 10, b"theirs" * 100)):
                late = await leased(l2, str(number))
                await connection.call(f"$KV.{bucket}.s.{number}", foreign)
                assert not await fill(l2, str(number), late)
                assert await fill(l2, str(number), await leased(l2, str(number))), "and it is a miss to be filled"

    asyncio.run(main())


def test_a_token_of_a_bucket_that_was_deleted_fits_nothing_in_the_next(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(nats.url, bucket) as l2, opened(nats.url, bucket) as other, connected(nats.url) as admin:
            old = await leased(l2, "key")
            await admin.api(f"STREAM.DELETE.KV_{bucket}")
            for call in (get(l2, "key"), l2.delete("s", ["key"]), fill(l2, "key", old), l2.clear(None)):
                with pytest.raises(DistributedCacheError):
                    await call
            await other.open()
            new = await leased(other, "key")
            assert not await fill(l2, "key", old)
            assert int(new.split("-")[1]) > int(old.split("-")[1])
            assert await fill(l2, "key", new), "the same handle goes on in the new bucket"

    asyncio.run(main())


def test_a_write_waits_a_little_for_a_bucket_that_nobody_answers_for(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(nats.url, bucket) as l2, opened(nats.url, bucket) as other, connected(nats.url) as admin:
            await admin.api(f"STREAM.DELETE.KV_{bucket}")
            storing = asyncio.ensure_future(store(l2, "key"))
            await asyncio.wait({storing}, timeout=0.05)
            await other.open()
            await storing

    asyncio.run(main())


def test_a_bucket_with_settings_that_break_a_promise_is_refused(nats: Server) -> None:
    async def main() -> None:
        good = {"max_msgs_per_subject": 1, "allow_msg_ttl": True, "discard": "old"}
        bad = {"max_msgs_per_subject": 5, "allow_msg_ttl": False, "discard": "new", "deny_purge": True}
        async with connected(nats.url) as admin:
            for name, value in bad.items():
                bucket = f"test-{uuid4()}"
                config = {"name": f"KV_{bucket}", "subjects": [f"$KV.{bucket}.>"], **good, name: value}
                await admin.api(f"STREAM.CREATE.KV_{bucket}", config)
                l2 = NatsKVDistributedCache(nats.url, bucket=bucket)
                wanted = f"{name}={json.dumps(good.get(name, False))}"
                with pytest.raises(DistributedCacheError, match=re.escape(wanted)):
                    await l2.open()
                await l2.close()

    asyncio.run(main())


def test_a_bucket_that_the_server_will_not_have_is_an_error_that_says_why(nats: Server) -> None:
    async def main() -> None:
        options: dict[str, Any]
        for options in ({"replicas": 3}, {"max_bytes": 2**62}):
            l2 = NatsKVDistributedCache(nats.url, bucket=f"test-{uuid4()}", **options)
            with pytest.raises(DistributedCacheError, match=f"cannot be created.*{next(iter(options.values()))}"):
                await l2.open()
            await l2.close()

    asyncio.run(main())


def test_an_old_server_is_refused(nats: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(Connection, "server_version", (2, 11))
        l2 = NatsKVDistributedCache(nats.url)
        with pytest.raises(DistributedCacheError, match=r"2\.12.*2\.11"):
            await l2.open()
        await l2.close()

    asyncio.run(main())


def test_a_stale_entry_is_deleted_also_by_who_wants_no_lease(nats: Server) -> None:
    async def main() -> None:
        async with opened(nats.url) as l2:
            await store(l2, "key")
            newer = Position(P.epoch, P.offset + 1)
            assert await get(l2, "key", oldest=newer, lease=0) == Miss(None)
            await leased(l2, "key")

    asyncio.run(main())


def test_a_value_too_large_for_the_server_gives_its_lease_back(nats: Server) -> None:
    async def main() -> None:
        async with opened(nats.url, max_bytes=200_000) as l2:
            await store(l2, "other")
            for size in (200_001, 1024 * 1024, 3_000_000):
                assert not await fill(l2, "key", await leased(l2, "key"), b"x" * size)
            assert isinstance(await get(l2, "other"), Hit)

    asyncio.run(main())


def test_a_full_bucket_loses_what_is_oldest_and_takes_deletes(nats: Server) -> None:
    async def main() -> None:
        async with opened(nats.url, max_bytes=100_000) as l2:
            for number in range(30):
                await store(l2, str(number), b"x" * 10_000)
            assert isinstance(await get(l2, "0", lease=0), Miss)
            assert isinstance(await get(l2, "29"), Hit)
            await l2.delete("s", [str(number) for number in range(30)])
            assert isinstance(await get(l2, "29", lease=0), Miss)

    asyncio.run(main())


def test_a_slow_connection_never_makes_an_entry_or_a_lease_last_longer(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        with nats.proxy() as proxy:
            proxy.delay(0.15)
            async with opened(nats.url, bucket) as l2, opened(proxy.url, bucket) as slow:
                began = monotonic()
                await store(l2, "key", ttl=30)
                stored = monotonic()
                found = await get(slow, "key")
                assert isinstance(found, Hit)
                got = monotonic()
                assert 30 - (got - began) - 0.4 < found.remaining < 30 - (got - stored) + 0.02
                taken = monotonic()
                token = await slow.lease("s", "leased", lease_seconds=0.5)
                await eventually(lambda: monotonic() - taken >= 0.5)
                assert not await fill(slow, "leased", token)

    asyncio.run(main())


def test_other_clients_see_a_bucket_with_readable_keys(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        client = Client()
        await client.connect(nats.url)
        try:
            async with opened(nats.url, bucket) as l2:
                for key in ("user:1", "user:2"):
                    await store(l2, key)
                await l2.delete("s", ["user:2"])
                theirs = await client.jetstream().key_value(bucket)
                assert await theirs.keys() == ["s.user=3A1"]
        finally:
            await client.close()

    asyncio.run(main())


def test_the_servers_clock_is_asked_for_again(nats: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(nats.url) as l2:
            await store(l2, "key", ttl=30)
            l2._bucket._ahead += 1000
            assert await get(l2, "key", lease=0) == Miss(None)
            monkeypatch.setattr(bucket_module, "_CLOCK_SECONDS", 0.01)

            async def found() -> bool:
                return isinstance(await get(l2, "key", lease=0), Hit)

            await eventually(found)
            l2._bucket.now()

    asyncio.run(main())


def test_a_url_names_the_bucket_by_its_namespace_and_a_neighbour_keeps_out(nats: Server) -> None:
    async def main() -> None:
        namespace = f"test-{uuid4()}"
        broker = find_broker(nats.url)
        caches = [broker.distributed_cache(nats.url, namespace=name) for name in (namespace, f"{namespace}-2")]
        kept = broker.checkpoints(nats.url, namespace=namespace)
        assert kept is not None
        await kept.open()
        for l2 in caches:
            assert isinstance(l2, NatsKVDistributedCache)
            await l2.open()
            await store(l2, "key")
        version = await kept.save("n", b"data", 0)
        first, second = caches
        assert first is not None
        await first.clear(None)
        assert isinstance(second, NatsKVDistributedCache)
        assert isinstance(await get(second, "key"), Hit)
        assert await kept.load("n") == (b"data", version)
        for each in (first, second, kept):
            await each.close()

    asyncio.run(main())
