"""The NATS L2 on a bucket of three replicas."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import DistributedCacheError
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.nats.distributed import NatsKVDistributedCache
from tests.servers.nats_cluster import NatsCluster
from tests.unit.brokers.nats_support import fill, get, leased, opened, store


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with closing(NatsCluster(tmp_path_factory.mktemp("cluster"))) as cluster:
        cluster.open()
        yield cluster


@pytest.mark.parametrize("cause", ["clear scope", "clear all", "delete", "lease"])
def test_no_fill_that_is_under_way_outlives_a_change(cluster: NatsCluster, cause: str) -> None:
    async def change(l2: NatsKVDistributedCache, keys: list[str]) -> None:
        match cause:
            case "clear scope":
                await l2.clear("s")
            case "clear all":
                await l2.clear(None)
            case "delete":
                await l2.delete("s", keys)
            case _:
                await asyncio.gather(*(l2.lease("s", key, lease_seconds=60) for key in keys))

    async def main() -> None:
        rng = random.Random(4)
        bucket = f"test-{uuid4()}"
        async with opened(cluster.url, bucket, replicas=3) as l2, opened(cluster.url, bucket) as other:
            filled = 0
            for turn in range(30):
                keys = [f"{turn}-{number}" for number in range(60)]
                tokens = await asyncio.gather(*(leased(l2, key) for key in keys))

                async def fill_soon(key: str, token: str) -> bool:
                    await asyncio.sleep(rng.random() * 0.004)
                    return await fill(l2, key, token)

                async def change_soon(keys: list[str] = keys) -> None:
                    await asyncio.sleep(rng.random() * 0.003)
                    await change(other, keys)

                fills = asyncio.gather(*map(fill_soon, keys, tokens))
                await change_soon()
                filled += sum(await fills)
                found = await asyncio.gather(*(get(other, key, lease=0) for key in keys))
                assert [key for key, one in zip(keys, found, strict=True) if isinstance(one, Hit)] == []
            assert 0 < filled < 30 * 60, "nothing raced"

    asyncio.run(main())


def test_a_new_leader_knows_every_delete_that_was_acknowledged(cluster: NatsCluster) -> None:
    async def main() -> None:
        bucket = f"test-{uuid4()}"
        async with opened(cluster.url, bucket, replicas=3) as l2:
            for number in range(40):
                await store(l2, str(number))
            token = await leased(l2, "leased")
            await l2.delete("s", [str(number) for number in range(20)])
            leader = await asyncio.to_thread(cluster.leader, f"KV_{bucket}")
            leader.kill()
            try:

                async def answers() -> bool:
                    try:
                        async with asyncio.timeout(1):
                            return bool(await get(l2, "0", lease=0))
                    except (DistributedCacheError, TimeoutError):
                        return False

                await eventually(answers, timeout=20, message="no new leader")
                found = await asyncio.gather(*(get(l2, str(number), lease=0) for number in range(40)))
                assert found[:20] == [Miss(None)] * 20
                assert all(isinstance(one, Hit) for one in found[20:])
                assert await fill(l2, "leased", token)
            finally:
                await asyncio.to_thread(leader.start)

    asyncio.run(main())
