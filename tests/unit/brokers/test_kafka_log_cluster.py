"""The log in a cluster, whose leader dies or freezes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from async_hybrid_cache.testing.promises import promise
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_cluster import KafkaCluster
from tests.unit.brokers.cluster_support import lose_nothing
from tests.unit.brokers.kafka_support import Place, at_place


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with closing(KafkaCluster(tmp_path_factory.mktemp("kafka"))) as cluster:
        cluster.open()
        yield cluster


async def leader(cluster: KafkaCluster, place: Place) -> KafkaServer:
    async with place.admin() as admin:
        (topic,) = await admin.describe_topics([place.topic])
    return cluster.node(topic["partitions"][0]["leader"])


def test_an_acknowledgement_means_two_of_three_nodes(cluster: KafkaCluster) -> None:
    @at_place(cluster.url)
    async def _(place: Place) -> None:
        await place.opened()
        async with place.admin() as admin:
            (topic,) = await admin.describe_topics([place.topic])
            (reply,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, place.topic)])
        assert len(topic["partitions"][0]["replicas"]) == 3
        assert {entry[0]: entry[1] for entry in reply.resources[0][4]}["min.insync.replicas"] == "2"


@promise(1, fault="leader lost")
@pytest.mark.parametrize("fault", ["kill", "stop"])
def test_a_leader_that_is_lost_takes_nothing_with_it_and_nothing_comes_twice(cluster: KafkaCluster, fault: str) -> None:
    @at_place(cluster.url)
    async def _(place: Place) -> None:
        logs = [await place.opened() for _ in range(3)]
        while (lost := await leader(cluster, place)) is cluster.controller:
            await place.delete()
            for log in logs:
                await log.open()
        try:
            await lose_nothing(logs, lambda: asyncio.to_thread(getattr(lost, fault)))
            assert await leader(cluster, place) is not lost
        finally:
            await asyncio.to_thread(lost.start if fault == "kill" else lost.cont)
