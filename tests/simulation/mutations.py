"""The shipped rules, each switched off from here: the simulation has to notice, or it proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

from async_hybrid_cache import fleet
from async_hybrid_cache.bounded import bounded
from async_hybrid_cache.deletes import Deletes
from async_hybrid_cache.journal import Journal, Recovered
from async_hybrid_cache.loader import Loader, Loading
from async_hybrid_cache.loads import Load
from async_hybrid_cache.ownership.lease import Lease
from async_hybrid_cache.positioned import PositionedReads
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.scopes import Scope, Scopes
from async_hybrid_cache.shared import Found, SharedTier
from async_hybrid_cache.snapshot import Staged
from async_hybrid_cache.staleness import Staleness
from async_hybrid_cache.store import LocalStore
from async_hybrid_cache.stream import InvalidationStream
from async_hybrid_cache.stream.marks import Marks, Verdict
from async_hybrid_cache.stream.outbox import Outbox
from async_hybrid_cache.stream.reader import Reader
from async_hybrid_cache.stream.tail import Tail
from async_hybrid_cache.stream.unsaid import Unsaid
from async_hybrid_cache.stream.writer import Writer
from async_hybrid_cache.subscription.feed import Feed
from async_hybrid_cache.subscription.session import Session
from async_hybrid_cache.tombstones import Tombstones
from async_hybrid_cache.write import Write

from .l2 import SharedStore, SimulatedCache
from .log import SimulatedLog
from .plan import WORLDS
from .run import Violation, simulate

__all__ = ["MUTATIONS", "SEARCH_SEEDS", "Caught", "Mutation", "hear_late", "search"]

SEARCH_SEEDS = 600
"""Within so many seeds every mutation has to be noticed."""


class Mutation(NamedTuple):
    """What is replaced by what, and under which name people know it; `world` is where alone it can show."""

    name: str
    patches: tuple[tuple[type | ModuleType, str, Any], ...]
    world: str = ""

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """With the rule switched off."""
        with contextlib.ExitStack() as stack:
            for owner, attribute, replacement in self.patches:
                stack.enter_context(mock.patch.object(owner, attribute, replacement))
            yield


class Caught(NamedTuple):
    """After how many seeds which violation was found; None for none."""

    seeds: int
    violation: str | None


def search(number: int, limit: int) -> Caught:
    """Run the seeds from 0 on, `limit` of them at most, with that mutation of `MUTATIONS`, until one fails."""
    mutation = MUTATIONS[number]
    worlds = [name for name, *_ in WORLDS]
    seeds = range(worlds.index(mutation.world), limit * len(worlds), len(worlds)) if mutation.world else range(limit)
    with mutation.applied():
        for tried, seed in enumerate(seeds, 1):
            try:
                simulate(seed)
            except Violation as error:
                return Caught(tried, str(error))
    return Caught(limit, None)


# -- the rules of the model (design: model/protocol.py) --------------------------------------------------------


def _keep_entry(self: LocalStore, key: str, before: Position | None = None) -> None:
    if before is None:
        _discard(self, key)


def _keep_entries(self: LocalStore, before: Position | None = None) -> None:
    if before is None:
        _clear(self)


async def _acknowledge_and_wait_for_the_echo(self: Writer, frame: Any, known: Position) -> Position:
    stream = self._stream
    position = await bounded(stream.log.append(frame.data, frame.id), stream.options.append_timeout_seconds)
    if stream.attached:
        stream.advance(position)
    self.acknowledged, self.acknowledged_id = position, frame.id
    stream.outbox.acknowledged(position)
    return position


async def _let_pass(self: Writer, position: Position) -> None:
    return None


async def _believe(self: Tail) -> None:
    return None


async def _at_once(self: InvalidationStream, position: Position) -> bool:
    return True


def _fence_and_still_join(self: Scope, key: str, before: Position | None = None) -> int:
    loads = [running[key] for running in (self.loads, self.probes) if key in running]
    overtaken = [load for load in loads if before is None or load.stamp < before]
    _overtaken.update(overtaken)
    return len(overtaken)


def _keep_unless_overtaken(self: Scopes, scope: str, key: str, stamp: Position, load: Load) -> bool:
    return load not in _overtaken and _may_keep(self, scope, key, stamp, load)


def _stamp_at_the_end(self: Loader, scope: Scope, key: str, load: Load, *rest: Any) -> None:
    load.stamp, load.fenced = self._stamp(), False
    _settle(self, scope, key, load, *rest)


def _stamp_copies_anew(
    self: Loader, scope: Scope, key: str, load: Load, value: Any, loading: Any, running: Any, found: Found | None
) -> None:
    found = None if found is None else found._replace(stamp=load.stamp)
    _settle(self, scope, key, load, value, loading, running, found)


async def hear_late(self: SimulatedLog, start: Position, limit: int, wait: float) -> Any:
    found = await _read(self, start, limit, wait)
    await asyncio.sleep(0.1)
    return found


async def _take_any_hit(self: Loader, l2: SharedTier, scope: Scope, key: str, load: Load, loading: Loading) -> Any:
    seconds = 0.0 if loading.factory is None else l2.lease_seconds
    return await l2.get(scope.name, key, loading.serializer(), ORIGIN, lease_seconds=seconds)


async def _announce_then_delete(self: Write) -> None:
    self._fence()
    self.pending = self._stream.publish(self._event) if self._stream else None
    if self.pending is not None:
        await self.pending.wait(0.1)
        await asyncio.sleep(0.01)  # an L2 that is slower than the log
    self.token = await self._l2.change(self._change) if self._l2 else None
    self._fence()


async def _catch_up_silently(self: SharedTier, announce: Any) -> None:
    await _catch_up(self, lambda event: None)


def _allow_below_the_floor(self: Tombstones, scope: str, key: str, stamp: Position, began: Position) -> bool:
    return self.newest(scope, key) <= stamp


def _fence_own_changes_alone(self: Scope, key: str, before: Position | None = None) -> int:
    fenced = [] if before is None else [running[key] for running in (self.loads, self.probes) if key in running]
    stood = [load.fenced for load in fenced]
    count = _fence(self, key, before)
    for load, was in zip(fenced, stood, strict=True):
        load.fenced = was
    return count


def _keep_what_was_fenced(self: Scopes, scope: str, key: str, stamp: Position, load: Load) -> bool:
    return self.tombstones.allow(scope, key, stamp, load.stamp)


# -- what surrounds them ---------------------------------------------------------------------------------------


_begin_to_write = Write.begin


async def _fence_once(self: Write) -> None:
    fence, self._fence = self._fence, lambda: None
    fence()
    await _begin_to_write(self)


async def _no_late_delete(self: SharedTier, event: Any, call: Any) -> Any:
    try:
        return await call
    except Exception:
        return None


async def _deleted(self: Deletes, scope: str, keys: Any) -> None:
    return None


async def _trust_the_log(self: Tail, *_: Any) -> None:
    return None


def _never_a_hole(self: Marks, frame: Any, *, strangers: bool) -> Verdict:
    return Verdict.DUPLICATE if frame.last <= self.get(frame.origin) else Verdict.NEXT


def _never_a_duplicate(self: Marks, frame: Any, *, strangers: bool) -> Verdict:
    return Verdict.NEXT


def _be_there(self: Tail, asked_at: float, head: Position) -> None:
    self.caught_up_at = asked_at


def _until_a_timer_ends_it(self: LocalStore, *arguments: Any) -> None:
    _put(self, *arguments)
    entry = self.entries[arguments[0]]
    kept_for = entry.fresh_until - arguments[6]
    entry.fresh_until = entry.expires_at
    asyncio.get_running_loop().call_later(kept_for, setattr, entry, "fresh_until", -math.inf)


def _leave_what_was_left(self: Journal, contents: Any) -> Recovered:
    return Recovered([], [])


def _in_spite_of_the_loss(self: Scopes, floor: Position, lost: str | None) -> None:
    _replaying(self, floor, None)


def _read_what_is_there(self: PositionedReads, scope: Scope, key: str, loading: Loading, _: Any) -> Any:
    return self._loader.get(scope, key, loading)


def _overwrite(self: Outbox) -> None:
    while self._weight > self._max:
        self._weight -= self._items.popleft().weight


def _regroup(self: Outbox, *arguments: Any) -> Any:
    self.unseal()
    return _frame(self, *arguments)


def _seal_anew(self: Writer) -> None:
    _begin(self)
    self._sequence = 1


async def _begin_at_the_head(self: Reader) -> None:
    stream, tail = self._stream, self._tail
    bounds = await tail.bounds()
    started = await self._own_start(bounds)
    tail.marks.load({})
    tail.stand(Position(bounds.epoch, started.offset - 1), "")
    stream.listener.replaying(self.applied, None)
    self._apply_all(await tail.next(0.0))
    stream.attach(self.applied)


async def _done_before_it_is_handled(self: Session, step: Any) -> None:
    self.done, self._unsaved = self._tail.checkpoint(), True
    await self._save()
    await _deliver(self, step)


def _silently_to_the_head(self: Feed, bounds: Any, reason: str) -> Any:
    step = _lost(self, bounds, reason)
    self._tail.stand(bounds.head, "")
    return step


def _twice(self: Feed, record: Any) -> Any:
    steps = [*_steps(self, record)]
    return [*steps, *steps]


_overtaken: set[Load] = set()
_read, _may_keep = SimulatedLog.read, Scopes.may_keep
_discard, _clear, _settle = LocalStore.discard, LocalStore.clear, Loader._settle
_catch_up, _frame, _begin, _fence = SharedTier.catch_up, Outbox.frame, Writer.begin, Scope.fence
_put, _replaying = LocalStore.put, Scopes.replaying
_deliver, _lost, _steps = Session._deliver, Feed.lost, Feed.steps

_FORGOTTEN = "L2 fails and tombstones are forgotten"

MUTATIONS = (
    # apply_evicts
    Mutation(
        "an applied event drops nothing", ((LocalStore, "discard", _keep_entry), (LocalStore, "clear", _keep_entries))
    ),
    # tombstone_refuses_fill
    Mutation("an overtaken load may fill", ((Scopes, "may_keep", lambda *_: True),)),
    # ack_counts_as_applied; the second fence, which the model does not have, hides it as long as L2 keeps its deletes
    Mutation(
        "an acknowledgement is not applied before its echo",
        ((Writer, "_append", _acknowledge_and_wait_for_the_echo), (Write, "begin", _fence_once)),
    ),
    # join_only_unfenced
    Mutation(
        "callers join overtaken loads",
        ((Scope, "fence", _fence_and_still_join), (Scopes, "may_keep", _keep_unless_overtaken)),
    ),
    # stamp_at_begin
    Mutation("a load is stamped when it ends", ((Loader, "_settle", _stamp_at_the_end),)),
    # l1_copy_keeps_l2_stamp; shows where an instance hears of others later than of its own appends
    Mutation(
        "the L1 copy of an L2 entry is stamped anew",
        ((Loader, "_settle", _stamp_copies_anew), (SimulatedLog, "read", hear_late)),
        "L2 fails",
    ),
    # tombstone_refuses_l2_hit
    Mutation("an L2 hit older than its tombstone is served", ((Loader, "_ask_l2", _take_any_hit),)),
    # delete_before_append; tombstones hide it as long as they are remembered
    Mutation(
        "the announcement comes before the L2 delete",
        ((Write, "begin", _announce_then_delete),),
        "tombstones are forgotten",
    ),
    # lease; what was heard before a fill, which the model does not ask, hides it
    Mutation(
        "L2 is filled without a live lease",
        ((SharedStore, "leased", lambda *_: True), (InvalidationStream, "heard", _at_once)),
        _FORGOTTEN,
    ),
    # late_delete_appends_again
    Mutation("a late L2 delete is not announced", ((SharedTier, "catch_up", _catch_up_silently),), _FORGOTTEN),
    # floor; an event that fences the loads under way, which the model asks only before joining, hides it
    Mutation(
        "a load below the floor may fill",
        ((Tombstones, "allow", _allow_below_the_floor), (Scope, "fence", _fence_own_changes_alone)),
        "tombstones are forgotten",
    ),
    Mutation("a load fenced by a change of its own process may fill", ((Scopes, "may_keep", _keep_what_was_fenced),)),
    Mutation("tombstones are not placed", ((Tombstones, "place", lambda *_: None),)),
    Mutation("L1 is not fenced again after the L2 delete", ((Write, "begin", _fence_once),)),
    Mutation("an L2 delete that failed is forgotten", ((SharedTier, "_or_later", _no_late_delete),)),
    Mutation("what waits for the log is no tombstone", ((Unsaid, "covers", lambda *_: False),), "L2 fails"),
    Mutation("L2 is not deleted from", ((Deletes, "add", _deleted),)),
    Mutation("a joint append leaves L2 as it is", ((SimulatedCache, "change", lambda *_: None),)),
    Mutation(
        "L2 is filled before all up to the stamp was heard",
        ((InvalidationStream, "heard", _at_once), (SimulatedLog, "read", hear_late)),
        "plain",
    ),
    Mutation("a gap resets nothing", ((Scopes, "reset", lambda *_: None),)),
    Mutation("the log is taken on trust", ((Tail, "lost", _trust_the_log),)),
    Mutation("what follows a lost end is believed", ((Tail, "_recognise", _believe),), "the log is lost"),
    Mutation("a place that was taken is a receipt", ((Writer, "_forgot", _let_pass),), "the log is lost"),
    Mutation("holes in a sequence are overlooked", ((Marks, "judge", _never_a_hole),), "the log is lost"),
    Mutation("duplicates are not recognised", ((Marks, "judge", _never_a_duplicate), (Marks, "get", lambda *_: 0))),
    Mutation("no bound on staleness is kept", ((Staleness, "within", lambda *_: True),)),
    Mutation("a head counts before it is applied", ((Tail, "aim", _be_there),)),
    Mutation("the bound is kept by a timer", ((LocalStore, "put", _until_a_timer_ends_it),)),
    Mutation("what a process left on disk is not told", ((Journal, "_adopt", _leave_what_was_left),)),
    Mutation("what a snapshot missed is not applied to it", ((Staged, "apply", lambda *_: None),)),
    Mutation(
        "a snapshot is used though its log is gone", ((Scopes, "replaying", _in_spite_of_the_loss),), "the log is lost"
    ),
    Mutation("a read at a position takes what is there", ((PositionedReads, "read", _read_what_is_there),)),
    Mutation("a barrier waits for its own instance alone", ((fleet, "_others", lambda _: []),)),
    Mutation("a full outbox drops", ((Outbox, "_coarsen", _overwrite),)),
    Mutation("a frame whose fate is open is sealed anew", ((Outbox, "frame", _regroup),)),
    Mutation("a sequence does not begin at 1", ((Writer, "begin", _seal_anew),)),
    Mutation("a restarted instance replays nothing", ((Reader, "_anchor", _begin_at_the_head),)),
    Mutation("a position is kept before its event was handled", ((Session, "_deliver", _done_before_it_is_handled),)),
    Mutation("a subscriber skips what a changed log holds", ((Feed, "lost", _silently_to_the_head),)),
    Mutation("a subscriber is told twice", ((Feed, "steps", _twice),)),
    Mutation("an owner goes on when its lease ran out", ((Lease, "fresh", property(lambda _: True)),)),
)
"""The first eleven are those of model/protocol.py, in its order and under its names."""
