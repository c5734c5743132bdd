"""A lease on a name: one holder at a time, as seen by whoever watches it.

The algorithm of Amazon's Kinesis Client Library: the holder keeps counting, and a contender that has not seen the
count move for as long as a lease lasts, by its own monotonic clock, takes over by compare-and-set. No clocks of two
machines are ever compared.
"""

from __future__ import annotations

import enum

import msgspec

from ..clock import Clock
from ..errors import CheckpointConflict, CheckpointError
from .document import Document
from .process import process_is_gone, this_process
from .using import StoreUse

__all__ = ["BEATS_PER_LEASE", "Lease", "Standing"]

BEATS_PER_LEASE = 3
"""How often a holder beats within the time of a lease."""

# one beat may have been on its way when its holder died, and a second cannot
_SURE_MOVES = 2


class _Holder(msgspec.Struct, frozen=True):
    owner: str
    process: str
    held: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Holder).decode


class Standing(enum.Enum):
    """What a look at a lease tells."""

    NEW = "nobody ever had it"
    FREE = "it was released, its holder's process is gone, or it is one's own"
    DOUBTFUL = "it is held, and its holder has not been seen to live"
    SILENT = "the same, for as long as a lease lasts"
    LIVE = "it is held, and its holder lives"


class Lease:
    """One party's view of the lease `name`, under its own name `owner`, which nobody else may use."""

    def __init__(self, use: StoreUse, name: str, *, owner: str, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._document = Document(use, name, owner)
        self._owner = owner
        self._clock = clock
        self._watched: tuple[int, float] | None = None
        self._moves = 0
        self.was_known = False
        """Whether anybody had it before this one."""
        self._beat_sent_at: float | None = None

    @property
    def fresh(self) -> bool:
        """Whether nobody can have taken it from its holder yet: the last beat is younger than a lease."""
        sent = self._beat_sent_at
        return sent is not None and self._clock.monotonic() - sent < self.seconds

    @property
    def beat_due(self) -> bool:
        """Whether the holder has to beat again."""
        sent = self._beat_sent_at
        return sent is None or self._clock.monotonic() - sent >= self.seconds / BEATS_PER_LEASE

    async def look(self) -> Standing:
        """See how it stands now. Looking again and again is how a contender watches the holder."""
        body = await self._document.load()
        version, now = self._document.version, self._clock.monotonic()
        if self._watched is None or self._watched[0] != version:
            self._moves += self._watched is not None
            self._watched = version, now
        self.was_known = version != 0
        if body is None:
            return Standing.NEW
        try:
            holder = _decode(body)
        except msgspec.DecodeError:
            return Standing.FREE
        if not holder.held or (holder.owner == self._owner and holder.process == this_process()):
            return Standing.FREE
        gone = process_is_gone(holder.process)
        if gone:
            return Standing.FREE
        if now - self._watched[1] >= self.seconds:
            return Standing.SILENT
        # this very process runs for certain, and tells nothing about the part of it that holds the lease
        alive = gone is False and holder.process != this_process()
        return Standing.LIVE if alive or self._moves >= _SURE_MOVES else Standing.DOUBTFUL

    async def take(self) -> bool:
        """Become the holder of what the last `look` saw; False where somebody else was faster."""
        try:
            await self.beat()
        except CheckpointConflict:
            return False
        return True

    async def beat(self) -> None:
        """Say that the holder lives; `CheckpointConflict` where it is the holder no more."""
        sent_at = self._clock.monotonic()
        await self._document.save(_encode(_Holder(self._owner, this_process(), True)))
        self._beat_sent_at = sent_at

    async def release(self) -> None:
        """Let the next one have it at once, if it is still held. Never raises."""
        if self._beat_sent_at is None:
            return
        self._beat_sent_at = None
        try:
            await self._document.save(_encode(_Holder(self._owner, this_process(), False)))
        except CheckpointError:
            pass  # then the others wait until the lease has run out
