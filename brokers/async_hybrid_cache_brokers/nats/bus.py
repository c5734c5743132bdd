"""The invalidation bus on a JetStream stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from async_hybrid_cache.bus import InvalidationBus, StreamOptions

from .address import Access
from .log import NatsLog

__all__ = ["NatsInvalidationBus"]


class NatsInvalidationBus(InvalidationBus):
    """Invalidations over the JetStream stream `stream_name` of a NATS system, server 2.12 or newer.

    `servers` is one URL or several, `nats://[user:password@|token@]host[:4222][,host...]`, or `tls://...`; further
    keywords are those of `Access`. The stream is created where it does not exist, with `replicas`, to keep
    `retention_records` for instances that were away; `stream` says how each instance runs.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        stream_name: str = "ahc-invalidation",
        replicas: int = 1,
        retention_records: int = 100_000,
        stream: StreamOptions | None = None,
        **access: Unpack[Access],
    ) -> None:
        def new_log() -> NatsLog:
            return NatsLog(
                servers, stream=stream_name, replicas=replicas, retention_records=retention_records, **access
            )

        super().__init__(new_log, stream)
