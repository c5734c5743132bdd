"""Clusters of local processes: a leader's death loses nothing there, and a lost tail is lost on purpose."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import nats.errors
import psutil
from nats.aio.client import Client as NATS
from redis import Redis

from async_hybrid_cache.testing import eventually
from tests.servers.nats import NatsServer
from tests.servers.nats_cluster import NatsCluster
from tests.servers.ports import LOOPBACK
from tests.servers.valkey_pair import ValkeyPair


def test_a_nats_stream_survives_its_leader(tmp_path: Path) -> None:
    async def main(cluster: NatsCluster) -> None:
        addresses = [f"nats://{address}" for address in cluster.url.removeprefix("nats://").split(",")]
        client = NATS()
        await client.connect(addresses, reconnect_time_wait=0)
        try:
            stream = client.jetstream(timeout=2)
            await stream.add_stream(name="kept", subjects=["kept"], num_replicas=3)

            async def published() -> bool:
                try:
                    return (await stream.publish("kept", b"value")).seq >= 100
                except (nats.errors.Error, TimeoutError):  # this node may not know of the stream yet
                    return False

            await eventually(published, timeout=20)
            leader = await asyncio.to_thread(cluster.leader, "kept")
            leader.kill()
            successor = await asyncio.to_thread(cluster.leader, "kept")
            assert successor is not leader

            async def kept() -> bool:
                try:
                    return (await stream.get_msg("kept", 100)).data == b"value"
                except (nats.errors.Error, TimeoutError):
                    return False

            await eventually(kept, timeout=20)
            await asyncio.to_thread(leader.start)
            assert leader.answers()
        finally:
            await client.close()

    with closing(NatsCluster(tmp_path)) as cluster:
        cluster.open()
        pids = [node.pid for node in cluster.nodes]
        listening = [at.laddr.ip for pid in pids for at in psutil.Process(pid).net_connections("inet4")]
        assert set(listening) == {LOOPBACK}
        asyncio.run(main(cluster))
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_client_of_one_nats_node_is_told_no_way_round_a_proxy(tmp_path: Path) -> None:
    async def main(node: NatsServer) -> None:
        client = NATS()
        await client.connect(node.url)
        try:
            assert [server.port for server in client.servers] == [node.port]
        finally:
            await client.close()

    with closing(NatsCluster(tmp_path)) as cluster:
        cluster.open()
        asyncio.run(main(cluster.nodes[0]))


def test_a_valkey_replica_takes_over_without_the_tail(tmp_path: Path) -> None:
    with closing(ValkeyPair(tmp_path)) as pair:
        pair.open()
        with Redis.from_url(pair.url) as client:
            client.set("kept", 1)
            pair.lose_tail()
            client.set("lost", 1)
            assert client.get("lost") == b"1"
            pair.promote()
            assert client.get("kept") == b"1"
            assert client.get("lost") is None
            client.set("later", 1)
        pair.replica.restart()
        with Redis.from_url(pair.replica.url) as client:
            assert client.mget("kept", "later", "lost") == [b"1", b"1", None]


def test_a_valkey_pair_loses_nothing_unless_told_to(tmp_path: Path) -> None:
    with closing(ValkeyPair(tmp_path)) as pair:
        pair.open()
        with Redis.from_url(pair.url) as client:
            for number in range(100):
                client.rpush("kept", number)
        pair.await_replica()
        pair.promote()
        with Redis.from_url(pair.url) as client:
            assert client.llen("kept") == 100


def test_a_valkey_pair_can_be_promoted_again_once_the_old_primary_is_back(tmp_path: Path) -> None:
    with closing(ValkeyPair(tmp_path)) as pair:
        pair.open()
        for turn in range(2):
            with Redis.from_url(pair.url) as client:
                client.set("kept", turn)
                pair.lose_tail()
                client.set("kept", "lost")
                pair.promote()
                assert client.get("kept") == b"%d" % turn
            pair.rejoin()
        pair.promote()
        with Redis.from_url(pair.url) as client:
            assert client.get("kept") == b"1"
