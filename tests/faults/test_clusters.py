"""More than one server: a leader that dies, and a replica that takes over without the end of the log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import closing
from operator import eq
from pathlib import Path
from time import monotonic

import nats
import nats.errors
import nats.js.errors
import pytest
from redis.asyncio import Redis

from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from benchmarks.outage.play import play
from tests.faults.database import Database
from tests.faults.fleet import FRESH_SECONDS, counted, fresh_everywhere, gaps, member, members, stream_of, write_all
from tests.faults.member import Member
from tests.faults.places import RedisPlace
from tests.servers.nats_cluster import NatsCluster
from tests.servers.valkey_pair import ValkeyPair

Figures = dict[str, list[float]]

KEYS = [f"key-{i}" for i in range(30)]
STREAM = "ahc-invalidation"


# -- a primary, and a replica that lost the tail -------------------------------------------------------------


@pytest.fixture
def valkey_pair(tmp_path: Path) -> Iterator[ValkeyPair]:
    with closing(ValkeyPair(tmp_path)) as pair:
        pair.open()
        yield pair


async def lose_the_tail(pair: ValkeyPair, fleet: list[Member], database: Database) -> None:
    """Everything is written and read twice, and the replica has it once: the old values, in L2 too."""
    await write_all(fleet[0], KEYS)
    await fresh_everywhere(database, fleet, KEYS, monotonic())
    await eventually(lambda: sum(each.cache.stats().distributed.fills for each in fleet) >= len(KEYS))
    await asyncio.to_thread(pair.lose_tail)
    await write_all(fleet[1], KEYS)
    await fresh_everywhere(database, fleet, KEYS, monotonic())
    assert await gaps(fleet) == [0] * len(fleet)
    async with Redis.from_url(pair.replica.url) as replica:
        assert await replica.dbsize() > len(KEYS)


def epochs(fleet: list[Member]) -> set[str]:
    return {stream_of(each.cache.stats()).position.partition("-")[0] for each in fleet}


@promise(1, fault="leader lost")
def test_a_promoted_replica_that_lost_the_tail_is_counted_everywhere_and_brings_nothing_old_back(
    valkey_pair: ValkeyPair, database: Database, figures: Figures
) -> None:
    place = RedisPlace(valkey_pair.url, "test")

    async def main() -> None:
        async with members(place, database, 3) as fleet:
            await lose_the_tail(valkey_pair, fleet, database)
            before = epochs(fleet)
            await asyncio.to_thread(valkey_pair.promote)
            promoted = monotonic()
            # all of them saw the tail: none may go on as if it had been there
            figures["replica promoted without the tail: counted"].append(await counted(fleet, 1, promoted))
            figures["replica promoted without the tail: fresh"].append(
                await fresh_everywhere(database, fleet, KEYS, promoted)
            )
            (epoch,) = epochs(fleet)
            assert {epoch} != before
            # L2 of the replica still has what the lost events removed: nobody who comes now may find it
            async with member(place, database) as newcomer:
                assert await newcomer.read_all(KEYS) == database.read_all(KEYS)
                await write_all(newcomer, KEYS)
                await fresh_everywhere(database, [*fleet, newcomer], KEYS, monotonic())
            assert await gaps(fleet) == [1, 1, 1]

    asyncio.run(main())


def test_writers_go_on_through_the_promotion(valkey_pair: ValkeyPair, database: Database) -> None:
    place = RedisPlace(valkey_pair.url, "test")

    async def main() -> None:
        async with members(place, database, 3) as fleet:
            await lose_the_tail(valkey_pair, fleet, database)
            for number, each in enumerate(fleet):
                await each.browse(KEYS)
                await each.write_on(str(number), KEYS[number :: len(fleet)], 0.01)
            before = database.read_all(KEYS)
            await eventually(lambda: not any(map(eq, before, database.read_all(KEYS))))
            await asyncio.to_thread(valkey_pair.promote)
            promoted = monotonic()

            async def all_counted() -> bool:
                return min(await gaps(fleet)) >= 1

            await eventually(all_counted, timeout=2.0, message="somebody did not count the loss")
            await asyncio.sleep(max(0.0, promoted + 1.0 - monotonic()))
            for each in fleet:
                written = await each.written()
                assert [write.error for write in written if write.error] == []
                assert (await each.rest()).errors == []
            await fresh_everywhere(database, fleet, KEYS, monotonic())
            assert len(epochs(fleet)) == 1

    asyncio.run(main())


# -- three nodes with a leader -------------------------------------------------------------------------------


@pytest.fixture
def nats_cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    with closing(NatsCluster(tmp_path)) as cluster:
        cluster.open()
        yield cluster


class LeaderOf:
    """A cluster whose leader is killed for good; it is back when other nodes lead the stream and the cluster."""

    def __init__(self, cluster: NatsCluster) -> None:
        self.url = f"{cluster.url}?replicas={len(cluster.nodes)}"
        self._cluster = cluster

    def kill(self) -> None:
        self._cluster.leader(STREAM).kill()

    def start(self) -> None:
        self._cluster.leader(STREAM)
        asyncio.run(self._await_consumers())

    async def _await_consumers(self) -> None:
        """Whoever leads the cluster has to agree to a consumer, and may be another one than the stream's leader."""
        client = await nats.connect([f"nats://127.0.0.1:{node.port}" for node in self._cluster.nodes if node.running])

        async def consumed() -> bool:
            with contextlib.suppress(nats.errors.Error, nats.js.errors.Error):
                made = await client.jetstream().add_consumer(STREAM, inactive_threshold=1.0, num_replicas=1)
                return await client.jetstream().delete_consumer(STREAM, made.name)
            return False

        await eventually(consumed, timeout=20.0, message="nobody leads the cluster")
        await client.close()


@promise(1, fault="leader lost")
def test_a_leader_killed_under_load_loses_nothing_and_needs_no_gap(
    nats_cluster: NatsCluster, tmp_path: Path, figures: Figures
) -> None:
    seen = asyncio.run(play(LeaderOf(nats_cluster), 0.5, tmp_path))
    assert sum(node.running for node in nats_cluster.nodes) == 2
    assert seen.errors == []
    assert seen.not_in_order == []
    assert seen.gaps == [0] * 6
    # the two that are left acknowledge what is written now
    late = [write for write in seen.writes if write.at > seen.back + FRESH_SECONDS / 2]
    assert len(late) > 10
    assert not any(write.queued for write in late)
    assert seen.caught_up < FRESH_SECONDS
    figures["NATS leader killed: another one"].append(seen.back - seen.broken)
    figures["NATS leader killed: all applied then"].append(seen.caught_up)
