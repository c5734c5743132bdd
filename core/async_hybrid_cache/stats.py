"""What a cache has done, and how it is."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "CacheStats",
    "DistributedStats",
    "Health",
    "ScopeStats",
    "SnapshotStats",
    "StreamStats",
    "SubscriptionStats",
]


class ScopeStats(msgspec.Struct, frozen=True, kw_only=True):
    """L1 of one scope.

    - `entries`: entries held now, expired ones that have not been swept yet included.
    - `hits`: reads answered from L1.
    - `evictions`: entries that left because of `lru_max_keys`.
    """

    entries: int
    hits: int
    evictions: int


class DistributedStats(msgspec.Struct, frozen=True, kw_only=True):
    """L2, as this process sees it.

    - `state`: `up`, `down` (a call failed, and reads go past L2 until it answers again), or `off` (there is
      none, or the cache is not following the log yet).
    - `hits`: entries found and decoded.
    - `misses`: asked in vain.
    - `waits`: loads that waited for another process to load the same key.
    - `waits_failed`: loads that would have waited, and could not be told when to go on; they loaded as well.
    - `stale`: entries found but refused, as older than an invalidation or of another epoch.
    - `fills`: values stored.
    - `fills_refused`: values not stored, since their lease was voided by a removal meanwhile.
    - `fills_overtaken`: values found in a plain cache although a removal had overtaken them; each is deleted, and the
      removal announced once more.
    - `errors`: calls that failed or timed out.
    - `undecodable`: entries that the serializer could not read, each a miss as well.
    - `unencodable`: values that the serializer could not take, which so stay in L1 alone.
    - `late_deletes`: deletes that failed and wait to be done.
    - `breaker_opened`: how often L2 was found to be away.
    - `down_seconds`: for how long it has been away; None while it is not.
    """

    state: Literal["off", "up", "down"]
    hits: int
    misses: int
    waits: int
    waits_failed: int
    stale: int
    fills: int
    fills_refused: int
    fills_overtaken: int
    errors: int
    undecodable: int
    unencodable: int
    late_deletes: int
    breaker_opened: int
    down_seconds: float | None


class StreamStats(msgspec.Struct, frozen=True, kw_only=True):
    """The invalidation stream, since `start`.

    - `instance`: the `instance_id`, or the random name that stands for it.
    - `attached`: whether the log has been found and is followed.
    - `position`: the newest record applied, as `epoch-offset`.
    - `lag`: records known to be in the log and not applied yet.
    - `unheard_seconds`: since when, at most, something may have been acknowledged that was not applied here; None
      before the log is followed.
    - `events_applied`: events applied, own ones and replayed ones included.
    - `events_replayed`: records caught up with, after a restart with a checkpoint or after a broken connection.
    - `events_appended`: own events that the log has acknowledged.
    - `outbox`: own events that wait for the log.
    - `outbox_coarsened`: how often waiting events were merged into broader ones for lack of room.
    - `outbox_errors`: how often a durable outbox could not be written, and was in memory alone.
    - `duplicates`: records skipped because their events had been applied before.
    - `unknown_events`: events of a type that this release does not know.
    - `undecodable_records`: records that are no frame of this wire version.
    - `gap_total`: how often it could not be proved that nothing was missed, and L1 was reset.
    - `last_gap`: why, the last time; None if never.
    - `reconnects`: how often reader, writer, checkpoints or outbox worked again after a failure.
    - `down_seconds`: for how long reader or writer has been failing; None while both work.
    - `last_error`: what is failing now; None while nothing is.
    """

    instance: str
    attached: bool
    position: str
    lag: int
    unheard_seconds: float | None
    events_applied: int
    events_replayed: int
    events_appended: int
    outbox: int
    outbox_coarsened: int
    outbox_errors: int
    duplicates: int
    unknown_events: int
    undecodable_records: int
    gap_total: int
    last_gap: str | None
    reconnects: int
    down_seconds: float | None
    last_error: str | None


class SubscriptionStats(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription, since it was made.

    - `name`: its name.
    - `per`: `fleet` or `instance`.
    - `running`: whether it was started.
    - `owner`: whether this instance is the one that delivers; per instance, whether it has its slot.
    - `position`: the newest record handled, as `epoch-offset`; None where this is not the owner.
    - `lag`: records known to be in the log and not handled yet; None where this is not the owner.
    - `delivered`: events handled here.
    - `retries`: calls of the handler that failed.
    - `gaps`: how often events may have been lost, each told to the handler.
    - `duplicates`: records skipped because their events had been delivered before.
    - `failing_seconds`: for how long the newest trouble lasts; None without one.
    - `last_error`: what is failing now; None while nothing is.
    """

    name: str
    per: Literal["fleet", "instance"]
    running: bool
    owner: bool
    position: str | None
    lag: int | None
    delivered: int
    retries: int
    gaps: int
    duplicates: int
    failing_seconds: float | None
    last_error: str | None


class SnapshotStats(msgspec.Struct, frozen=True, kw_only=True):
    """L1 over restarts.

    - `written`: snapshots written since the cache was made.
    - `entries`: entries in the newest one.
    - `bytes`: its size.
    - `left_out`: entries that it lacks, since no serializer of their scope took the value.
    - `restored`: entries that the last start took from a snapshot and served.
    - `dropped`: entries that it did not take: expired, of a type that has changed, or not to be decoded.
    - `thrown_away`: snapshots of which nothing could be used.
    - `last_thrown_away`: why, the last time; None if never.
    - `failures`: how often none could be written, or no file claimed.
    - `last_error`: what is failing now; None while nothing is.
    """

    written: int
    entries: int
    bytes: int
    left_out: int
    restored: int
    dropped: int
    thrown_away: int
    last_thrown_away: str | None
    failures: int
    last_error: str | None


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What `AsyncHybridCache.stats` returns: counts since the cache was made, over all scopes, unless said otherwise.

    - `hits`: reads answered from L1.
    - `misses`: reads that were not; callers who shared one load count each.
    - `loads`: loaders called.
    - `load_errors`: loaders that failed, answers such as "not found" not included.
    - `load_timeouts`: loaders that took longer than `hard_timeout_seconds`.
    - `stale_served`: stale values that stood in for a loader.
    - `past_bound`: reads that found a value which `max_staleness_seconds` no longer vouched for.
    - `fenced`: loads under way that an invalidation overtook.
    - `fills_fenced`: values not kept in L1, because their load was overtaken.
    - `entries`: entries in L1 now.
    - `tombstones`: invalidations remembered now.
    - `resets`: how often L1 was reset because the stream could prove nothing.
    - `scopes`: the same for each scope, by name.
    - `distributed`: L2.
    - `stream`: the invalidation stream; None without a bus.
    - `subscriptions`: those made on the bus.
    - `snapshot`: L1 over restarts; None where none is kept.
    """

    hits: int
    misses: int
    loads: int
    load_errors: int
    load_timeouts: int
    stale_served: int
    past_bound: int
    fenced: int
    fills_fenced: int
    entries: int
    tombstones: int
    resets: int
    scopes: dict[str, ScopeStats]
    distributed: DistributedStats
    stream: StreamStats | None
    subscriptions: tuple[SubscriptionStats, ...]
    snapshot: SnapshotStats | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the cache works as configured.

    - `status`: `ok`; `degraded` (it answers, but a part it was given is away); or `stopped`.
    - `reasons`: which part, and why; empty where all is well.
    """

    status: Literal["ok", "degraded", "stopped"]
    reasons: tuple[str, ...]
