"""The invalidation bus on a Kafka topic."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from async_hybrid_cache.bus import InvalidationBus, StreamOptions

from .access import Access
from .log import KafkaLog

__all__ = ["KafkaInvalidationBus"]


class KafkaInvalidationBus(InvalidationBus):
    """Invalidations over a Kafka topic with one partition.

    - `bootstrap_servers`: `"host:port"`, several as a list or with commas between them; the port is 9092 by default.
    - `topic` (`"ahc.invalidation"`): created where it is missing and the user may.
    - `replication_factor` (three, or as many as there are brokers) and `retention_seconds` (seven days): of a topic
      that is created; one that exists keeps its own.
    - `username`, `password`, `sasl_mechanism` (`PLAIN`; or `SCRAM-SHA-256`, `SCRAM-SHA-512`): the login.
    - `ssl_context` (None): TLS by this context. Without one everything goes in the clear, a PLAIN password too.
    - `stream`: how each instance runs.

    Raises `ConfigurationError` naming the part that cannot be used.
    """

    def __init__(
        self,
        bootstrap_servers: str | Sequence[str],
        *,
        topic: str = "ahc.invalidation",
        replication_factor: int | None = None,
        retention_seconds: float = 7 * 86_400,
        sasl_mechanism: str | None = None,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        stream: StreamOptions | None = None,
    ) -> None:
        access = Access.of(
            bootstrap_servers,
            sasl_mechanism=sasl_mechanism,
            username=username,
            password=password,
            ssl_context=ssl_context,
        )

        def new_log() -> KafkaLog:
            return KafkaLog(
                access, topic=topic, replication_factor=replication_factor, retention_seconds=retention_seconds
            )

        super().__init__(new_log, stream)
