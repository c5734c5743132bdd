"""The bus of one host."""

from __future__ import annotations

import os

from async_hybrid_cache.bus import InvalidationBus, StreamOptions

from .log import SqliteLog

__all__ = ["SqliteInvalidationBus"]


class SqliteInvalidationBus(InvalidationBus):
    """Invalidation between the processes of one host, over the SQLite file at `path`; see `SqliteLog`.

    A process may fall `retention_records` (default 100 000) or `retention_seconds` (default seven days)
    behind before it resets its L1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        retention_records: int = 100_000,
        retention_seconds: float = 7 * 86400,
        stream: StreamOptions | None = None,
    ) -> None:
        super().__init__(
            lambda: SqliteLog(path, retention_records=retention_records, retention_seconds=retention_seconds), stream
        )
