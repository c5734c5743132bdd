"""The smallest use of each server through its client library: keep a value, find it again."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import redis.asyncio as redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from nats.aio.client import Client as NATS
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

__all__ = ["KEEP", "KEPT", "VALUE", "keep_kafka", "keep_nats", "keep_valkey"]

VALUE = b"value"
_TOPIC = TopicPartition("kept", 0)


async def keep_valkey(url: str, **options: Any) -> None:
    async with _redis(url, **options) as client:
        await client.set("kept", VALUE)


async def kept_valkey(url: str) -> bytes | None:
    async with _redis(url) as client:
        return await client.get("kept")


async def keep_nats(url: str, **options: Any) -> None:
    refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def note(error: Exception) -> None:
        if not refused.done():
            refused.set_result(error)

    async def keep() -> None:
        stream = client.jetstream(timeout=20)
        await stream.add_stream(name="kept", subjects=["kept"])
        await stream.publish("kept", VALUE)

    client = NATS()
    try:
        await client.connect(**_nats(url), error_cb=note, **options)
        keeping = asyncio.create_task(keep())
        await asyncio.wait([keeping, refused], return_when=asyncio.FIRST_COMPLETED)
        if refused.done():  # a forbidden request is not answered
            keeping.cancel()
            await asyncio.wait([keeping])
            raise refused.result()
        await keeping
    finally:
        await client.close()


async def kept_nats(url: str) -> bytes | None:
    client = NATS()
    try:
        await client.connect(**_nats(url))
        return (await client.jetstream(timeout=20).get_msg("kept", 1)).data
    finally:
        await client.close()


async def keep_kafka(url: str, **options: Any) -> None:
    options = {**_kafka(url), **options}
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        answer: Any = await admin.create_topics([NewTopic(_TOPIC.topic, 1, 1)])
        code, message = answer.topic_errors[0][1:3]
        if code:
            raise PermissionError(message)
    finally:
        await admin.close()
    producer = AIOKafkaProducer(**options)
    try:
        await producer.start()
        await producer.send_and_wait(_TOPIC.topic, VALUE, partition=0)
    finally:
        await producer.stop()


async def kept_kafka(url: str) -> bytes | None:
    consumer = AIOKafkaConsumer(**_kafka(url), auto_offset_reset="earliest")
    try:
        await consumer.start()
        consumer.assign([_TOPIC])
        return (await consumer.getone(_TOPIC)).value
    finally:
        await consumer.stop()


async def keep_postgres(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE kept (value bytea)")
        await connection.execute("INSERT INTO kept VALUES ($1)", VALUE)
    finally:
        await connection.close()


async def kept_postgres(url: str) -> bytes | None:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval("SELECT value FROM kept")
    finally:
        await connection.close()


def _redis(url: str, **options: Any) -> Any:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)


def _nats(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    options: dict[str, Any] = {"servers": f"{parts.scheme}://{parts.hostname}:{parts.port}", "allow_reconnect": False}
    options["connect_timeout"] = 20
    if parts.username and parts.password:  # which nats-py would send as they are quoted in the URL
        options |= {"user": unquote(parts.username), "password": unquote(parts.password)}
    return options


def _kafka(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    options: dict[str, Any] = {"bootstrap_servers": f"{parts.hostname}:{parts.port}", "request_timeout_ms": 10_000}
    if parts.username and parts.password:
        options |= {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": unquote(parts.username),
            "sasl_plain_password": unquote(parts.password),
        }
    return options


KEEP = {"valkey": keep_valkey, "nats": keep_nats, "kafka": keep_kafka, "postgres": keep_postgres}
KEPT = {"valkey": kept_valkey, "nats": kept_nats, "kafka": kept_kafka, "postgres": kept_postgres}
