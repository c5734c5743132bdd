"""The owner's work: read on from the position, hand each event over, and keep the position."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from ..cancellation import was_cancelled
from ..checkpoint import Checkpoint
from ..clock import Clock
from ..errors import CheckpointConflict, CheckpointError
from ..log import EventLog
from ..ownership import Slot
from ..positions import Position
from ..stream.keeper import encode_checkpoint
from ..stream.supervisor import Link
from ..stream.tail import Tail
from .delivery import Commit, Delivery, Gap, Handler
from .feed import Counts, Feed, Step

if TYPE_CHECKING:
    from ..bus import StreamOptions

__all__ = ["Session"]

logger = logging.getLogger("async_hybrid_cache")

_GROUP_SECONDS = 0.05
_HANDLER_RETRY_SECONDS = 30.0
_FRESH_POLL_SECONDS = 0.02


class Session:
    """One term of ownership. `deposed` is set when somebody else turns out to be the owner."""

    def __init__(
        self,
        log: EventLog,
        options: StreamOptions,
        clock: Clock,
        link: Link,
        slot: Slot,
        handler: Handler,
        counts: Counts,
    ) -> None:
        self._options = options
        self._clock = clock
        self._link = link
        self._slot = slot
        self._handler = handler
        self._counts = counts
        self._tail = Tail(log, options, clock)
        self._feed = Feed(self._tail, clock, counts)
        self._kept: Checkpoint | None = None
        self._known = False
        self._catching_up = True
        self._saved_at = 0.0
        self._unsaved = False
        self._saved: Checkpoint | None = None
        self.done: Checkpoint | None = None
        """Where it stands after the last event that was handled."""
        self.deposed = asyncio.Event()
        self.placed = asyncio.Event()
        """Set once it stands in the log, so that nothing from then on is missed."""

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self._tail.position

    @property
    def lag(self) -> int:
        """Records known to be in the log and not handled yet."""
        return self._tail.lag

    def begin(self, kept: Checkpoint | None, known: bool) -> None:
        """Resume at `kept`; without it, `known` tells whether there ought to have been one."""
        self._kept, self._known = kept, known

    async def run(self) -> None:
        """Deliver until something fails; called again after that."""
        if not self.placed.is_set():
            await self._find_place()
        else:
            await self._prove()
        self._link.clear("reader")
        while True:
            wait = self._tail.proof_due_in(self._options.proof_seconds)
            if wait <= 0:
                await self._prove()
                self._link.clear("reader")
            # also after a proof: one that takes longer than the time between two would leave no other turn to read
            for record in await self._tail.next(max(wait, 0.0)):
                for step in self._feed.steps(record):
                    await self._deliver(step)
                self.done = self._tail.checkpoint()
                if self._unsaved and self._clock.monotonic() - self._saved_at >= _GROUP_SECONDS:
                    await self._save()
            await self._settle()
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Keep the position of what was handled, one last time."""
        try:
            await self._write()
        except CheckpointError as error:
            logger.warning("%s: its last position was not kept: %s", self._link.label, error)

    async def _save(self) -> None:
        """Keep the position; what fails is tried again with the next event or proof."""
        try:
            await self._write()
        except CheckpointConflict:
            await self._resign()
        except CheckpointError as error:
            self._link.note("checkpoint", error)
        else:
            self._link.clear("checkpoint")

    async def _write(self) -> None:
        checkpoint = self.done
        if checkpoint is not None and checkpoint != self._saved:
            await self._slot.position.save(encode_checkpoint(checkpoint))
            self._saved_up_to(checkpoint)

    def _saved_up_to(self, checkpoint: Checkpoint) -> None:
        self._saved, self._unsaved, self._saved_at = checkpoint, False, self._clock.monotonic()

    async def _settle(self) -> None:
        """After what there was: keep the position of events at once, and that of everything else now and then."""
        if self._catching_up:
            self._tail.meet_strangers()
            self._catching_up = self._tail.lag > 0
        if self._unsaved or self._clock.monotonic() - self._saved_at >= self._options.checkpoint_seconds:
            await self._save()

    async def _find_place(self) -> None:
        bounds = await self._tail.bounds()
        if self._kept is not None:
            self._feed.resume(self._kept)
            self.placed.set()
            await self._prove()
        elif self._known:
            step = self._feed.lost(bounds, "the position of this subscription was lost")
            self.placed.set()
            await self._deliver(step)
        else:
            self._tail.stand(bounds.head, await self._tail.id_at(bounds))
            self.done = self._tail.checkpoint()
            await self._save()
            self.placed.set()

    async def _prove(self) -> None:
        bounds, loss = await self._tail.prove()
        if loss is not None:
            self._catching_up = True
            await self._deliver(self._feed.lost(bounds, loss.value))
        await self._settle()

    async def _deliver(self, step: Step) -> None:
        """Hand one event over until it is handled."""
        attempt, began = 0, self._clock.monotonic()
        commit = Commit(self._slot.position, lambda: encode_checkpoint(self._tail.checkpoint()))
        while not await self._handled(step, commit):
            self._counts.retries += 1
            await self._link.pause(attempt, _HANDLER_RETRY_SECONDS)
            attempt += 1
        self._link.clear("handler")
        self._tail.paused(self._clock.monotonic() - began)
        self._counts.delivered += 1
        self._counts.gaps += isinstance(step.event, Gap)
        if was_cancelled():
            raise asyncio.CancelledError  # the handler kept it to itself

    async def _handled(self, step: Step, commit: Commit) -> bool:
        while not self._slot.lease.fresh:  # noqa: ASYNC110 - time alone takes it away
            await asyncio.sleep(_FRESH_POLL_SECONDS)
        commit.version = None
        try:
            await self._handler(Delivery(*step, commit))
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            if not await self._committed(commit):
                if "handler" not in self._link.troubles:
                    logger.error("%s: the handler failed on %s", self._link.label, step.id, exc_info=error)
                self._link.note("handler", error)
                return False
        else:
            if commit.version is None:
                self.done, self._unsaved = self._tail.checkpoint(), True
                return True
            self._slot.position.saved(commit.version)
        self.done = self._tail.checkpoint()
        self._saved_up_to(self.done)
        return True

    async def _committed(self, commit: Commit) -> bool:
        """Whether a failed handler's transaction was committed all the same, as when only the answer was lost."""
        try:
            return await commit.landed()
        except CheckpointConflict:
            await self._resign()
        except CheckpointError as error:
            # not known: if it was, the next attempt's own commit conflicts, and this is asked again
            self._link.note("checkpoint", error)
            return False

    async def _resign(self) -> NoReturn:
        """Somebody else is the owner: wait to be ended."""
        self.deposed.set()
        await asyncio.Event().wait()
        raise AssertionError
