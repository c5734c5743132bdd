"""What a record is sent under, by what the broker answered to the attempt before."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.memory_records import MemoryRecords

from async_hybrid_cache_brokers.kafka.epochs import Claim
from async_hybrid_cache_brokers.kafka.link import Link
from async_hybrid_cache_brokers.kafka.producer import Producer

CLAIM = Claim(70, 0, 0)
NEW_LEADER = NotLeaderForPartitionError.errno


class Broker:
    """Gives out producer ids, and answers to records as it is told."""

    def __init__(self, *answers: tuple[int, int]) -> None:
        self.sent: list[tuple[int, int]] = []
        self._answers = list(answers)
        self._ids = 0

    async def call(self, request: Any) -> Any:
        if not isinstance(request, ProduceRequest):
            self._ids += 1
            return SimpleNamespace(error_code=0, producer_id=self._ids, producer_epoch=0)
        ((_, ((_, data),)),) = request._topics
        batch: Any = MemoryRecords(data).next_batch()
        self.sent.append((batch.producer_id, batch.base_sequence))
        code, offset = self._answers.pop(0)
        return SimpleNamespace(topics=[("topic", [(0, code, offset)])])


def test_what_a_leader_wrote_before_it_was_deposed_is_not_taken_for_another_record() -> None:
    async def main() -> None:
        # it had appended the record, and was waiting for its replicas
        broker = Broker((NEW_LEADER, -1), (0, 8))
        producer, link = Producer("topic"), cast(Link, broker)
        with pytest.raises(NotLeaderForPartitionError):
            await producer.send(link, "a", b"a", CLAIM)
        assert await producer.send(link, "b", b"b", CLAIM) == (8, 0)
        first, second = broker.sent
        assert second != first, "the new leader would answer with the place of a, and write nothing"

    asyncio.run(main())


def test_what_a_leader_wrote_before_it_was_deposed_is_found_by_the_same_sequence() -> None:
    async def main() -> None:
        broker = Broker((NEW_LEADER, -1), (0, 7), (0, 8))
        producer, link = Producer("topic"), cast(Link, broker)
        with pytest.raises(NotLeaderForPartitionError):
            await producer.send(link, "a", b"a", CLAIM)
        # by now it has been read; it was written after what was known at the first attempt, all the same
        assert await producer.send(link, "a", b"a", CLAIM._replace(verified=7)) == (7, 0)
        producer.settle()
        assert await producer.send(link, "b", b"b", CLAIM) == (8, 0)
        assert broker.sent == [(1, 0), (1, 0), (1, 1)]

    asyncio.run(main())
