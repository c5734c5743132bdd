"""Checkpoints on NATS: what the contract does not ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from async_hybrid_cache.errors import CheckpointConflict, CheckpointError, ConfigurationError
from async_hybrid_cache_brokers.nats.checkpoints import NatsKVCheckpointStore
from tests.servers.server import LocalServer, Server
from tests.unit.brokers.nats_support import connected


@asynccontextmanager
async def opened(url: str, bucket: str) -> AsyncIterator[NatsKVCheckpointStore]:
    store = NatsKVCheckpointStore(url, bucket=bucket)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def test_options_are_checked_where_they_are_given() -> None:
    with pytest.raises(ConfigurationError, match="bucket"):
        NatsKVCheckpointStore("nats://localhost", bucket="a.b")
    with pytest.raises(ConfigurationError, match="replicas"):
        NatsKVCheckpointStore("nats://localhost", replicas=0)
    assert repr(NatsKVCheckpointStore("nats://me:s3cret@localhost")) == "NatsKVCheckpointStore('ahc-checkpoints')"


def test_one_deleted_by_hand_is_none_and_may_be_saved_again(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(nats.url, bucket) as store, connected(nats.url) as admin:
            version = await store.save("n", b"one", 0)
            await admin.call(f"$KV.{bucket}.n", b"", {"KV-Operation": "DEL"})
            assert await store.load("n") is None
            with pytest.raises(CheckpointConflict):
                await store.save("n", b"two", version)
            version = await store.save("n", b"", 0)
            assert await store.load("n") == (b"", version)
            with pytest.raises(CheckpointConflict):
                await store.save("n", b"two", 0)

    asyncio.run(main())


def test_what_cannot_be_a_checkpoint_is_an_error(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(nats.url, bucket) as store, connected(nats.url) as admin:
            await admin.call(f"$KV.{bucket}.n", b"theirs")
            with pytest.raises(CheckpointError, match="somebody else"):
                await store.load("n")
            with pytest.raises(CheckpointError, match="max_payload") as caught:
                await store.save("large", b"x" * 2_000_000, 0)
            assert not isinstance(caught.value, CheckpointConflict)
            assert await store.load("large") is None

    asyncio.run(main())


def test_no_version_of_a_deleted_bucket_fits_in_the_next(nats: Server) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(nats.url, bucket) as store, connected(nats.url) as admin:
            version = await store.save("n", b"old", 0)
            await admin.api(f"STREAM.DELETE.KV_{bucket}")
            for call in (store.load("n"), store.save("n", b"x", version)):
                with pytest.raises(CheckpointError) as caught:
                    await call
                assert not isinstance(caught.value, CheckpointConflict)
            await store.open()
            with pytest.raises(CheckpointConflict):
                await store.save("n", b"x", version)
            assert await store.save("n", b"new", 0) > version
            with pytest.raises(CheckpointConflict):
                await store.save("n", b"x", version)

    asyncio.run(main())


def test_a_bucket_that_forgets_is_refused(nats: Server) -> None:
    async def main() -> None:
        good = {"max_msgs_per_subject": 1, "storage": "file", "discard": "new"}
        bad = {"storage": "memory", "discard": "old", "max_age": 10**12, "retention": "interest"}
        async with connected(nats.url) as admin:
            for name, value in bad.items():
                bucket = f"test-{uuid4()}"
                config = {"name": f"KV_{bucket}", "subjects": [f"$KV.{bucket}.>"], **good, name: value}
                await admin.api(f"STREAM.CREATE.KV_{bucket}", config)
                store = NatsKVCheckpointStore(nats.url, bucket=bucket)
                with pytest.raises(CheckpointError, match=f"needs {name}="):
                    await store.open()
                await store.close()

    asyncio.run(main())


def test_a_killed_server_keeps_every_save_that_it_acknowledged(own_nats: LocalServer) -> None:
    async def main() -> None:
        async with opened(own_nats.url, "kept") as store:
            version = 0
            for number in range(50):
                version = await store.save("n", b"%d" % number, version)
            own_nats.kill()
            with pytest.raises(CheckpointError) as caught:
                await store.save("n", b"x", version)
            assert caught.value.__cause__ is not None
            own_nats.start()
            assert await store.load("n") == (b"49", version)
            assert await store.save("n", b"50", version) > version

    asyncio.run(main())
