"""The log in a cluster, where the leader compares for one message at a time, and may die."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.js.errors import APIError

from async_hybrid_cache.errors import PositionLost
from async_hybrid_cache.testing.log_calls import read_all
from async_hybrid_cache_brokers.nats import NatsLog
from async_hybrid_cache_brokers.nats.client import Connection
from tests.servers.nats_cluster import NatsCluster
from tests.unit.brokers.cluster_support import lose_nothing

COMPARING = 10164


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    with closing(NatsCluster(tmp_path)) as cluster:
        cluster.open()
        yield cluster


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Counter[int | None]:
    """How often the servers answered with which error."""
    counted: Counter[int | None] = Counter()
    call = Connection.call

    async def counting(self: Connection, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return await call(self, *args, **kwargs)
        except APIError as error:
            counted[error.err_code] += 1
            raise

    monkeypatch.setattr(Connection, "call", counting)
    return counted


def test_many_that_append_at_once_all_succeed_and_a_new_epoch_stops_them(
    cluster: NatsCluster, refusals: Counter[int | None]
) -> None:
    async def main() -> None:
        stream = f"test-{uuid4()}"
        logs = [NatsLog(cluster.url, stream=stream, replicas=3) for _ in range(6)]
        await asyncio.gather(*(log.open() for log in logs))
        assert len({await log.bounds() for log in logs}) == 1

        ids = [f"id-{number}" for number in range(300)]
        written = await asyncio.gather(*(logs[n % 6].append(b"data", id) for n, id in enumerate(ids)))
        assert sorted(position.offset for position in written) == list(range(1, 301))
        assert refusals[COMPARING], "nobody was in anybody's way"
        records = await read_all(logs[0])
        assert {record.id: record.position for record in records} == dict(zip(ids, written, strict=True))
        writing = [asyncio.create_task(write_until_lost(log)) for log in logs[1:]]
        await logs[0].renew(records[0].position.epoch)
        await asyncio.gather(*writing)
        bounds = await logs[0].bounds()
        assert bounds.epoch > records[0].position.epoch
        for log in logs[1:]:
            await log.open()
            assert (await log.append(b"data", f"new-{id(log)}")).epoch == bounds.epoch
        for log in logs:
            await log.close()

    asyncio.run(main())


async def write_until_lost(log: NatsLog) -> None:
    for number in range(10_000):
        try:
            await log.append(b"data", f"{id(log)}-{number}")
        except PositionLost:
            return
    raise AssertionError("the new epoch was never noticed")


@pytest.mark.parametrize("fault", ["kill", "stop"])
def test_a_leader_that_is_lost_takes_nothing_with_it_and_nothing_comes_twice(cluster: NatsCluster, fault: str) -> None:
    async def main() -> None:
        stream = f"test-{uuid4()}"
        logs = [NatsLog(cluster.url, stream=stream, replicas=3) for _ in range(3)]
        for log in logs:
            await log.open()
        leader = await asyncio.to_thread(cluster.leader, stream)
        await lose_nothing(logs, lambda: asyncio.to_thread(getattr(leader, fault)))
        for log in logs:
            await log.close()

    asyncio.run(main())
