"""Being told when a subject of a bucket is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from nats.errors import Error

from .bucket import Bucket

__all__ = ["watch"]

_NANOSECONDS = 1_000_000_000
_KEPT_SECONDS = 10


@asynccontextmanager
async def watch(bucket: Bucket, *subjects: str) -> AsyncIterator[asyncio.Event]:
    """An event that is set when one of `subjects` is written, or the connection lost.

    By an ephemeral consumer: a plain subscription would hear of a write before it is stored, and of one refused.
    """
    try:
        connection = await bucket.connection()
    except (Error, OSError) as error:
        raise bucket.failed(error) from error
    changed, name, inbox = asyncio.Event(), uuid4().hex, connection.new_inbox()
    config = {
        "name": name,
        "deliver_subject": inbox,
        "deliver_policy": "new",
        "filter_subjects": subjects,
        "headers_only": True,
        "ack_policy": "none",
        "replay_policy": "instant",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": _KEPT_SECONDS * _NANOSECONDS,
    }
    request = {"stream_name": bucket.stream, "config": config, "action": "create"}
    subscription = None
    try:
        try:
            subscription = await connection.subscribe(inbox, lambda _: changed.set())
            await connection.api(f"CONSUMER.CREATE.{bucket.stream}.{name}", request)
        except (Error, OSError) as error:
            raise bucket.failed(error) from error
        with connection.losing(changed.set):
            yield changed
    finally:
        if subscription is not None and connection.alive:
            with suppress(Error, OSError):
                await subscription.unsubscribe()
                await connection.send(f"$JS.API.CONSUMER.DELETE.{bucket.stream}.{name}")
