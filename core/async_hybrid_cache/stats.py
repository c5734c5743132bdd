"""What a cache has done, and how it is."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["CacheStats", "DistributedStats", "Health", "ScopeStats", "StreamStats"]


class ScopeStats(msgspec.Struct, frozen=True, kw_only=True):
    """L1 of one scope: entries now, and counts since the cache was made."""

    entries: int
    hits: int
    evictions: int


class DistributedStats(msgspec.Struct, frozen=True, kw_only=True):
    """L2: counts since the cache was made; `stale` were refused as older than an invalidation."""

    state: Literal["off", "up", "down"]
    hits: int
    misses: int
    stale: int
    fills: int
    fills_refused: int
    errors: int
    undecodable: int
    unencodable: int
    late_deletes: int
    breaker_opened: int


class StreamStats(msgspec.Struct, frozen=True, kw_only=True):
    """The invalidation stream. `down_seconds` is None while reader and writer both work.

    `position` is the newest applied, `lag` the records known to be behind the head, `gap_total` how often the
    stream could not prove that nothing was missed and reset L1.
    """

    instance: str
    attached: bool
    position: str
    lag: int
    events_applied: int
    events_replayed: int
    events_appended: int
    outbox: int
    outbox_coarsened: int
    duplicates: int
    unknown_events: int
    undecodable_records: int
    gap_total: int
    last_gap: str | None
    reconnects: int
    down_seconds: float | None
    last_error: str | None


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """Everything counted, over all scopes; see `AsyncHybridCache.stats`."""

    hits: int
    misses: int
    loads: int
    load_errors: int
    load_timeouts: int
    stale_served: int
    fenced: int
    fills_fenced: int
    entries: int
    tombstones: int
    resets: int
    scopes: dict[str, ScopeStats]
    distributed: DistributedStats
    stream: StreamStats | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the cache works as configured.

    `ok`; `degraded` (answers, but a part it was given is away: `reasons` say which and since when); `stopped`.
    """

    status: Literal["ok", "degraded", "stopped"]
    reasons: tuple[str, ...]
