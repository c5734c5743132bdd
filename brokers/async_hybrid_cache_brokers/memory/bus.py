"""The bus of one process."""

from __future__ import annotations

from async_hybrid_cache.bus import InvalidationBus, StreamOptions

from .log import MemoryLog

__all__ = ["MemoryInvalidationBus"]


class MemoryInvalidationBus(InvalidationBus):
    """Invalidation between the caches of one process, which see each other where the `name` is the same.

    `retention_records` is how many records a cache may fall behind before it resets its L1 (default 100 000).
    """

    def __init__(
        self,
        name: str = "default",
        *,
        retention_records: int = 100_000,
        stream: StreamOptions | None = None,
    ) -> None:
        super().__init__(lambda: MemoryLog(name, retention_records=retention_records), stream)
