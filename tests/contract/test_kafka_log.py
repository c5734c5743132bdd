from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from async_hybrid_cache.testing import LogContract, eventually
from async_hybrid_cache_brokers.kafka import BROKER, KafkaLog
from tests.contract.hosted import OWNER, Host, HostedWorld, hosted


class KafkaWorld(HostedWorld):
    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self._namespace = f"contract-{uuid4()}"
        self._topic = f"{self._namespace}.invalidation"

    def make_at(self, url: str) -> KafkaLog:
        log = BROKER.bus(url, namespace=self._namespace, stream=None).new_log()
        assert isinstance(log, KafkaLog)
        return log

    async def delete(self) -> None:
        async with self._admin() as admin:
            await admin.delete_topics([self._topic])

            async def gone() -> bool:
                (topic,) = await admin.describe_topics([self._topic])
                return bool(topic["error_code"])

            await eventually(gone, message="the topic is still there")

    async def trim(self, keep: int) -> None:
        log = await self.opened()
        bounds = await log.bounds()
        before = bounds.last - keep + 1  # the marker of the epoch is at 0
        async with self._admin() as admin:
            await admin.delete_records({TopicPartition(self._topic, 0): RecordsToDelete(before)})

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self.host.url.rpartition("@")[2],
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_plain_username=OWNER.name,
            sasl_plain_password=OWNER.password,
        )
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with hosted("kafka", tmp_path_factory) as host:
        yield host


class TestKafkaLog(LogContract):
    @pytest.fixture
    def world(self, host: Host) -> KafkaWorld:
        return KafkaWorld(host)
