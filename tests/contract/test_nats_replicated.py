"""The same rows on buckets of three replicas, where a compare-and-set is checked before it is replicated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from async_hybrid_cache.testing.checkpoint_contract import CheckpointStoreContract
from async_hybrid_cache.testing.distributed_concurrency import DistributedConcurrencyContract
from async_hybrid_cache.testing.distributed_contract import DistributedContract
from tests.contract import test_nats_checkpoints, test_nats_distributed
from tests.servers.nats_cluster import NatsCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with closing(NatsCluster(tmp_path_factory.mktemp("cluster"))) as cluster:
        cluster.open()
        yield cluster


class TestReplicatedNatsDistributed(DistributedContract, DistributedConcurrencyContract):
    @pytest.fixture
    def world(self, cluster: NatsCluster) -> test_nats_distributed.NatsWorld:
        return test_nats_distributed.NatsWorld(cluster.url, replicas=3)


class TestReplicatedNatsCheckpoints(CheckpointStoreContract):
    @pytest.fixture
    def world(self, cluster: NatsCluster) -> test_nats_checkpoints.NatsWorld:
        return test_nats_checkpoints.NatsWorld(cluster.url, replicas=3)
