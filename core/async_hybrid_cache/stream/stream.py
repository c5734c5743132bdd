"""The invalidation stream: appends what this instance says, and applies what all of them said, in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET

from async_hybrid_cache_codecs.events import Event, InstanceSeen, InstanceStarted, InstanceStopped

from ..checkpoint import Checkpoint
from ..clock import NEVER, Clock
from ..distributed import DistributedCache
from ..errors import LogUnavailable, OutboxError
from ..joint import Joins, Joint, L2Change
from ..journal import Journal, Recovered
from ..log import EventLog
from ..offers import offers
from ..positions import ORIGIN, Position
from .arrivals import Arrivals
from .keeper import Keeper
from .outbox import Outbox, Pending
from .reader import Reader
from .roster import Roster
from .supervisor import Link, Tasks, supervise
from .writer import Writer

if TYPE_CHECKING:
    from ..bus import InvalidationBus

__all__ = ["InvalidationStream", "StreamListener"]

logger = logging.getLogger("async_hybrid_cache")

_PROOFS_PER_BOUND = 3
_LEAST_PROOF_SECONDS = 0.01
_ECHO_SECONDS = 0.2


class StreamListener(Protocol):
    """What the stream tells the cache. Every call is made in the event loop and does not wait."""

    def replaying(self, floor: Position, lost: str | None) -> None:
        """The log is about to be replayed from just after `floor`, to learn what was invalidated lately.

        `lost` tells why what was kept as of `InvalidationStream.base` cannot be brought up to date by it, if so.
        """
        ...

    def apply(self, event: Event, position: Position) -> None:
        """`event` is acknowledged at `position`: what it names is stale if stamped before that."""
        ...

    def attach(self, position: Position) -> None:
        """The log was replayed up to `position`; from here on every event will be applied."""
        ...

    def reset(self, position: Position, reason: str) -> None:
        """Events before `position` may have been missed: nothing kept so far can be trusted."""
        ...


class InvalidationStream:
    """Runs one log for one instance: group commit, outbox, tail, replay, proofs, checkpoints, reconnecting.

    Works the same on every `EventLog`. Nothing here raises into the cache: whatever goes wrong is counted,
    logged once per change of state and tried again with capped, jittered backoff.
    """

    def __init__(self, bus: InvalidationBus, listener: StreamListener, clock: Clock, rng: random.Random) -> None:
        self.log = bus.new_log()
        self.options = options = bus.stream_options
        self.subscriptions = bus.subscriptions
        self.listener = listener
        self.clock = clock
        self.rng = rng
        self.journal = (
            Journal(
                options.outbox, _name_of(self.log), seconds=options.append_timeout_seconds, on_change=self._kept_or_not
            )
            if options.outbox
            else None
        )
        self.outbox = Outbox(options.outbox_max_events, options.frame_max_events, options.frame_max_bytes, self.journal)
        self.instance = ""
        self.origin = ""
        self.stamp: Position = ORIGIN
        """The position up to which a load that begins now is known to see every change."""
        self.attached = False
        self.proof_seconds = options.proof_seconds
        self.joint: Joint | None = None
        self.bound: float | None = 0.0
        """How long what is kept may be served while nothing is heard; None where that has no bound."""
        self.base: Checkpoint | None = None
        """Where the listener stands at the start: what was missed since is replayed to it."""
        self._owner = f"{rng.getrandbits(64):016x}"
        self._begin()
        self._attached = asyncio.Event()

    @property
    def caught_up_at(self) -> float:
        """The monotonic time as of which every acknowledged event is known to be applied here."""
        return self.reader.caught_up_at if self.attached else NEVER

    def abide_by(self, bound: float | None) -> None:
        """Something kept may be served for `bound` seconds while nothing is heard, or (None) for longer.

        Proofs are asked for so often that they keep it while the log can be reached, and the others are told.
        """
        if bound is not None:
            self.proof_seconds = max(_LEAST_PROOF_SECONDS, min(self.proof_seconds, bound / _PROOFS_PER_BOUND))
        if self.bound is not None and (bound is None or bound > self.bound):
            self.bound = bound
            if self.attached:
                self.writer.answer()

    def introduction(self) -> InstanceStarted:
        """The first event of an origin."""
        return InstanceStarted(self.instance, bound=UNSET if self.bound is None else self.bound)

    def sign_of_life(self) -> InstanceSeen:
        """How far this instance has come."""
        bound = UNSET if self.bound is None else self.bound
        return InstanceSeen(self.instance, self.reader.applied, self.reader.lag, bound=bound)

    def note(self, event: Event) -> int | None:
        """A change that begins: it is deleted in L2 and announced even if this process ends in the middle of it."""
        return self.journal.note(event) if self.journal else None

    def join(self, cache: DistributedCache) -> None:
        """Change `cache` in the same step as the log, where they are on one server."""
        append = cache.joined(self.log) if offers(cache, Joins) else None
        self.joint = Joint(append) if append else None

    @property
    def joins(self) -> bool:
        """Whether what is published now may change L2 in the same step."""
        return self.writes and self.joint is not None and not self.joint.refused

    @property
    def writes(self) -> bool:
        """Whether what is published now is likely to be acknowledged soon."""
        return self.attached and "writer" not in self.link.troubles

    def publish(self, event: Event, note: int | None = None, change: L2Change | None = None) -> Pending:
        """Queue `event` for the log. Never waits and never fails; the writer sends it as soon as it can.

        With `change`, which that `Joint` makes in L2 as well; where the result is still `owed` it, the caller has to.
        """
        pending = self.outbox.add(event, note, change)
        self.writer.wake()
        return pending

    def refuse(self, pending: Pending) -> LogUnavailable:
        """Keep an event no longer that was not acknowledged in time; the error for whoever waited."""
        withdrawn = self.outbox.withdraw(pending)
        _, cause = self.link.troubles.get("writer", (0.0, None))
        fate = "the other instances were not told" if withdrawn else "the other instances may have been told, or not"
        error = LogUnavailable(f"the log did not acknowledge in time; {fate}: repeat the call, which does no harm")
        error.__cause__ = cause
        return error

    async def heard(self, position: Position) -> bool:
        """Whether everything up to `position`, which is acknowledged, is applied here; waits for an echo on its way."""
        return await self.arrivals.wait(position, _ECHO_SECONDS)

    async def recover(self, journal: Journal) -> Recovered:
        """Before `start`: what earlier processes left. Its frames are sent; its events are still to be published.

        Raises `OutboxError` where no outbox can be kept.
        """
        recovered = await journal.open(self.options.instance_id or "unnamed")
        self.outbox.recover(recovered.frames)
        return recovered

    async def start(self, timeout: float) -> BaseException | None:
        """Begin to run; return None once attached, else after the first failure (or `timeout`) why not yet."""
        self.instance = self.options.instance_id or f"{self.rng.getrandbits(48):012x}"
        self.origin = f"{self.instance}-{self.rng.getrandbits(64):016x}"
        self._attached = asyncio.Event()
        if self.keeper:
            self.reader.checkpoint = await self.keeper.open(self.instance)
        if self.base:
            self.reader.checkpoint = self.base
        self.writer.begin()
        self.started = self.outbox.add_first(self.introduction())
        failed: asyncio.Future[Any] = self.link.expect_failure()
        for name, session in (("reader", self.reader.run), ("writer", self.writer.run)):
            self.tasks.start(name, partial(supervise, self.link, name, session))
        if self.keeper:
            self.tasks.start("checkpoint", partial(self._keep_checkpoints, self.keeper))
        waiting: asyncio.Future[Any] = asyncio.ensure_future(self._attached.wait())
        try:
            await asyncio.wait({waiting, failed}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self.attached:
            return None
        return failed.result() if failed.done() else LogUnavailable(f"the log did not answer within {timeout} s")

    async def stop(self, timeout: float) -> None:
        """Send what waits, say goodbye, keep the position, let go of the log; within about `timeout` seconds."""
        if self.attached and self.link.down_since is None:
            self.writer.leave()
            goodbye = self.publish(InstanceStopped(self.instance))
            await goodbye.wait(timeout / 2)
        await asyncio.gather(*self.tasks.cancel(), return_exceptions=True)
        left = len(self.outbox)
        kept = self.journal is not None and await self.journal.end()
        if kept:
            self.outbox.clear()
        if left:
            fate = "the next start sends them" if kept else "other instances keep those entries until their TTL"
            logger.warning("stopped with %d invalidations unsent; %s", left, fate)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout / 2):
                if self.keeper:
                    await self.keeper.close(self.reader.position_to_keep())
        await self.link.close(timeout / 2)
        self.detach()

    def detach(self) -> None:
        """Forget everything that is bound to an event loop; what waits in the outbox is kept."""
        if self.journal and self.journal.end_now():
            self.outbox.clear()
        self.attached = False
        self.stamp = ORIGIN
        self.tasks.cancel()
        self.outbox.unseal()
        self._begin()

    def advance(self, position: Position) -> None:
        """Applied or acknowledged up to `position`; called after its effects are in place."""
        if position > self.stamp:
            self.stamp = position

    def restamp(self, head: Position) -> None:
        """The log was found changed, and `head` is where it ends now: older stamps mean nothing any more."""
        self.stamp = max(head, self.stamp) if self.stamp.epoch == head.epoch else head

    def attach(self, position: Position) -> None:
        """The reader has replayed the log up to `position`."""
        self.stamp = position
        self.attached = True
        self.listener.attach(position)
        self.arrivals.reach(position)
        self.writer.wake()
        self._attached.set()

    def _begin(self) -> None:
        options = self.options
        self.link = Link(self.log, options, self.clock, self.rng, label="invalidation", on_trouble=self._in_trouble)
        self.tasks = Tasks(self.link, options.retry_max_seconds)
        self.reader = Reader(self)
        self.writer = Writer(self)
        self.arrivals = Arrivals()
        self.roster = Roster(self.clock, options.heartbeat_seconds)
        self.keeper = Keeper(options.checkpoints, options, self.clock, self._owner) if options.checkpoints else None

    def _kept_or_not(self, failure: OutboxError | None) -> None:
        if failure is not None:
            self.link.note("outbox", failure)
        else:
            self.link.clear("outbox")

    def _in_trouble(self, name: str) -> None:
        if name == "writer":
            self.outbox.away()

    async def _keep_checkpoints(self, keeper: Keeper) -> None:
        while True:
            await asyncio.sleep(keeper.interval)
            try:
                await keeper.keep(self.instance, self.reader.position_to_keep())
            except Exception as error:
                self.link.note("checkpoint", error)
            else:
                self.link.clear("checkpoint")


def _name_of(log: EventLog) -> str:
    # an address in memory names nothing in another process
    kind = type(log)
    return kind.__qualname__ if kind.__repr__ is object.__repr__ else repr(log)
