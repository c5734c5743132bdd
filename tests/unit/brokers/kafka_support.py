"""What the tests of the Kafka log share: a topic of their own, and the tools of others to reach into it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.kafka import BROKER, KafkaLog

__all__ = ["Place", "at_place"]


class Place:
    """One topic of one server, and handles on it that are closed with it."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.namespace = f"test-{uuid.uuid4()}"
        self.topic = f"{self.namespace}.invalidation"
        self._servers = url.partition("://")[2].rpartition("@")[2]
        self._stack = stack

    def log(self, query: str = "") -> KafkaLog:
        """One more handle, not opened yet."""
        log = BROKER.bus(self.url + query, namespace=self.namespace, stream=None).new_log()
        assert isinstance(log, KafkaLog)
        self._stack.push_async_callback(log.close)
        return log

    async def opened(self, query: str = "") -> KafkaLog:
        """One more handle, opened."""
        log = self.log(query)
        await log.open()
        return log

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """An administrator."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def producer(self, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
        """Another program that writes to the topic."""
        producer = AIOKafkaProducer(bootstrap_servers=self._servers, **options)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def create(self, partitions: int = 1, **settings: str) -> None:
        """Create the topic, as somebody else would."""
        configs = {name.replace("_", "."): value for name, value in settings.items()}
        async with self.admin() as admin:
            reply: Any = await admin.create_topics([NewTopic(self.topic, partitions, 1, topic_configs=configs)])
            assert reply.topic_errors[0][1] == 0, reply

    async def delete(self) -> None:
        """Delete the topic, and wait until it is gone."""
        async with self.admin() as admin:
            await admin.delete_topics([self.topic])

            async def gone() -> bool:
                (topic,) = await admin.describe_topics([self.topic])
                return bool(topic["error_code"])

            await eventually(gone, message="the topic is still there")

    async def trim(self, before: int) -> None:
        """Delete what is in front of Kafka's offset `before`; -1 for everything."""
        async with self.admin() as admin:
            await admin.delete_records({TopicPartition(self.topic, 0): RecordsToDelete(before)})


def at_place(url: str) -> Callable[[Callable[[Place], Awaitable[None]]], None]:
    """Run a coroutine function at a place of its own."""

    def run(body: Callable[[Place], Awaitable[None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), AsyncExitStack() as stack:
                await body(Place(url, stack))

        asyncio.run(main())

    return run
