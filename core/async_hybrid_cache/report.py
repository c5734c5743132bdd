"""Putting the counts of all parts together."""

from __future__ import annotations

from .clock import NEVER
from .lifecycle import Lifecycle, State
from .loader import Loader
from .options import EffectiveOptions
from .scopes import Scopes
from .shared import SharedTier
from .snapshot import Snapshot
from .staleness import Staleness
from .stats import CacheStats, DistributedStats, Health, ScopeStats, SnapshotStats, StreamStats
from .stream import InvalidationStream

__all__ = ["report_health", "report_stats"]


def report_stats(
    scopes: Scopes,
    loader: Loader,
    staleness: Staleness,
    l2: SharedTier | None,
    stream: InvalidationStream | None,
    snapshot: Snapshot | None,
) -> CacheStats:
    """What `AsyncHybridCache.stats` returns."""
    by_scope = {
        scope.name: ScopeStats(entries=len(scope.store), hits=scope.store.hits, evictions=scope.store.evictions)
        for scope in scopes
    }
    return CacheStats(
        hits=sum(scope.hits for scope in by_scope.values()),
        misses=loader.misses,
        loads=loader.loads,
        load_errors=loader.errors,
        load_timeouts=loader.timeouts,
        stale_served=loader.stale_served + (loader.elsewhere.stale_served if loader.elsewhere else 0),
        past_bound=staleness.past_bound,
        fenced=scopes.fenced,
        fills_fenced=loader.fills_fenced,
        entries=sum(scope.entries for scope in by_scope.values()),
        tombstones=len(scopes.tombstones),
        resets=scopes.resets,
        scopes=by_scope,
        distributed=_distributed(l2),
        stream=_stream(stream) if stream else None,
        subscriptions=tuple(subscription.stats() for subscription in stream.subscriptions) if stream else (),
        snapshot=_snapshot(snapshot) if snapshot else None,
    )


def _distributed(l2: SharedTier | None) -> DistributedStats:
    if l2 is None:
        return DistributedStats(
            state="off", hits=0, misses=0, waits=0, waits_failed=0, stale=0, fills=0, fills_refused=0,
            fills_overtaken=0, errors=0, undecodable=0, unencodable=0, late_deletes=0, breaker_opened=0,
            down_seconds=None,
        )  # fmt: skip
    return DistributedStats(
        state="off" if not l2.enabled else "down" if l2.breaker.is_open else "up",
        hits=l2.hits,
        misses=l2.misses,
        waits=l2.waits,
        waits_failed=l2.waits_failed,
        stale=l2.stale,
        fills=l2.fills,
        fills_refused=l2.refused,
        fills_overtaken=l2.overtaken,
        errors=l2.errors,
        undecodable=l2.undecodable,
        unencodable=l2.unencodable,
        late_deletes=l2.late_deletes,
        breaker_opened=l2.breaker.opened,
        down_seconds=l2.breaker.seconds_open,
    )


def _stream(stream: InvalidationStream) -> StreamStats:
    reader, link = stream.reader, stream.link
    down = link.down_since
    last = max(link.troubles.values(), key=lambda trouble: trouble[0], default=None)
    return StreamStats(
        instance=stream.instance,
        attached=stream.attached,
        position=str(reader.applied),
        lag=reader.lag,
        unheard_seconds=_unheard(stream),
        events_applied=reader.events,
        events_replayed=reader.replayed,
        events_appended=stream.writer.appended,
        outbox=len(stream.outbox),
        outbox_coarsened=stream.outbox.coarsened,
        outbox_errors=stream.journal.errors if stream.journal else 0,
        duplicates=reader.duplicates,
        unknown_events=reader.unknown,
        undecodable_records=reader.undecodable,
        gap_total=reader.gaps,
        last_gap=reader.last_gap,
        reconnects=link.reconnects,
        down_seconds=None if down is None else stream.clock.monotonic() - down,
        last_error=str(last[1]) if last else None,
    )


def _unheard(stream: InvalidationStream) -> float | None:
    return None if stream.caught_up_at == NEVER else stream.clock.monotonic() - stream.caught_up_at


def _snapshot(snapshot: Snapshot) -> SnapshotStats:
    return SnapshotStats(
        written=snapshot.written,
        entries=snapshot.last.entries,
        bytes=snapshot.last.bytes,
        left_out=snapshot.last.left_out,
        restored=snapshot.restored,
        dropped=snapshot.dropped,
        thrown_away=snapshot.thrown_away,
        last_thrown_away=snapshot.last_thrown_away,
        failures=snapshot.failures,
        last_error=snapshot.failing,
    )


def report_health(
    lifecycle: Lifecycle, options: EffectiveOptions, l2: SharedTier | None, stream: InvalidationStream | None
) -> Health:
    """What `AsyncHybridCache.health` returns."""
    if lifecycle.state not in (State.NEW, State.RUNNING):
        return Health(status="stopped", reasons=(lifecycle.state.value,))
    reasons: list[str] = []
    if lifecycle.state is State.NEW and stream is not None:
        reasons.append("not started: changes made by other instances are not heard")
    elif stream is not None and not stream.attached:
        reasons.append("the invalidation log has not been reached yet: changes elsewhere are not heard")
    if stream is not None:
        reasons += [
            f"invalidation {name}: failing for {stream.clock.monotonic() - since:.1f} s: {error}"
            for name, (since, error) in stream.link.troubles.items()
        ]
        unheard, bound = _unheard(stream), options.max_staleness_seconds
        if unheard is not None and bound is not None and unheard >= bound:
            reasons.append(f"unheard for {unheard:.1f} s: past max_staleness_seconds={bound:g}")
        for subscription in stream.subscriptions:
            reasons += subscription.troubles()
    if l2 is not None and l2.breaker.open_since is not None:
        away = l2.breaker.seconds_open
        reasons.append(f"the distributed cache: away for {away:.1f} s: {l2.breaker.last_error}")
    return Health(status="degraded" if reasons else "ok", reasons=tuple(reasons))
