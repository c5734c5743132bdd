"""What a stream on each server can be held to: its client alone, one message from process to process."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from abc import ABC, abstractmethod
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

from .measure import percentile

__all__ = ["PEERS", "latency", "rate"]

_TOPIC = "bench-raw"
_ROUNDS = 400
_PAYLOAD = b"x" * 80


class _Peer(ABC):
    """One client of one server, used as its documentation shows."""

    def __init__(self, url: str) -> None:
        self._url = url

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def send(self) -> None:
        """Send one message, and return when it is acknowledged."""

    @abstractmethod
    async def receive(self) -> None:
        """Wait for the next message."""


class _Redis(_Peer):
    async def open(self) -> None:
        from redis.asyncio import Redis

        self._redis = Redis.from_url(self._url, max_connections=200)
        self._last: Any = "0-0"

    async def close(self) -> None:
        await self._redis.aclose()

    async def send(self) -> None:
        await self._redis.xadd(_TOPIC, {"d": _PAYLOAD})

    async def receive(self) -> None:
        answer: Any = await self._redis.xread({_TOPIC: self._last}, count=1, block=4000)
        stream = answer[0] if isinstance(answer, list) else next(iter(answer.items()))
        entries = stream[1][0] if isinstance(stream[1][0], list) else stream[1]
        self._last = entries[-1][0]


class _Nats(_Peer):
    async def open(self) -> None:
        import nats
        from nats.js.api import DeliverPolicy

        self._client = await nats.connect(self._url)
        self._js = self._client.jetstream()
        await self._js.add_stream(name=_TOPIC, subjects=[_TOPIC])
        self._messages = await self._js.subscribe(_TOPIC, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW)

    async def close(self) -> None:
        await self._client.close()

    async def send(self) -> None:
        await self._js.publish(_TOPIC, _PAYLOAD)

    async def receive(self) -> None:
        await self._messages.next_msg(timeout=10)


class _Kafka(_Peer):
    async def open(self) -> None:
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        address = urlsplit(self._url).netloc
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        await admin.create_topics([NewTopic(_TOPIC, 1, 1)])
        await admin.close()
        self._producer = AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=None)
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([TopicPartition(_TOPIC, 0)])
        await self._consumer.seek_to_end()

    async def close(self) -> None:
        await self._producer.stop()
        await self._consumer.stop()

    async def send(self) -> None:
        await self._producer.send_and_wait(_TOPIC, _PAYLOAD, partition=0)

    async def receive(self) -> None:
        await self._consumer.getone()


PEERS: dict[str, type[_Peer]] = {"redis": _Redis, "nats": _Nats, "kafka": _Kafka}


async def latency(name: str, url: str) -> tuple[float, float]:
    """Milliseconds from a send in one process to its arrival in another: p50, p99."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    other = context.Process(target=_listen, args=(name, url, there), daemon=True)
    other.start()
    loop = asyncio.get_running_loop()
    peer = PEERS[name](url)
    await loop.run_in_executor(None, here.recv)
    await peer.open()
    taken: list[float] = []
    for _ in range(_ROUNDS):
        begun = time.monotonic_ns()
        await peer.send()
        taken.append((await loop.run_in_executor(None, here.recv) - begun) / 1e6)
    other.join(10)
    await peer.close()
    return percentile(taken, 0.5), percentile(taken, 0.99)


async def rate(name: str, url: str) -> float:
    """Acknowledged messages a second, 200 callers at once on one client."""
    peer = PEERS[name](url)
    await peer.open()
    rounds = 10
    begun = time.perf_counter()
    for _ in range(rounds):
        await asyncio.gather(*(peer.send() for _ in range(200)))
    found = rounds * 200 / (time.perf_counter() - begun)
    await peer.close()
    return found


def _listen(name: str, url: str, pipe: Connection) -> None:
    asyncio.run(_follow(name, url, pipe))


async def _follow(name: str, url: str, pipe: Connection) -> None:
    peer = PEERS[name](url)
    await peer.open()
    pipe.send("ready")
    for _ in range(_ROUNDS):
        await peer.receive()
        pipe.send(time.monotonic_ns())
    await peer.close()
