"""Reading one log in order from a position, and taking nothing about it on trust."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from async_hybrid_cache_codecs.errors import DecodeError
from async_hybrid_cache_codecs.frames import OpenedFrame, open_frame

from ..bounded import bounded
from ..checkpoint import Checkpoint
from ..clock import NEVER, Clock
from ..errors import PositionLost
from ..log import EventLog
from ..positions import ORIGIN, Bounds, Position, Record
from .marks import Marks, Verdict
from .roster import heartbeat_seconds

if TYPE_CHECKING:
    from ..bus import StreamOptions

__all__ = ["Loss", "Opened", "Tail"]

_READ_LIMIT = 1000
_HEARTBEATS_TO_MEET_EVERYBODY = 3


class Loss(Enum):
    """How a log can fail to hold what an instance has yet to read."""

    EPOCH = "the log has another epoch"
    TRIMMED = "the log was trimmed past this instance"
    TAIL = "the log lost its tail"
    REUSED = "the log lost its tail and reused its positions"


class Opened(NamedTuple):
    """A record that was taken: its frame, how it follows what was read of its origin, and the mark before it."""

    frame: OpenedFrame
    verdict: Verdict
    mark: int


class Tail:
    """A reader's place in the log, and the proof that nothing between it and the log's end was lost.

    Whenever it (re)connects, and regularly after that, it asks for epoch and head and reads the record at
    its place again: the same record there means that everything between was kept.
    """

    def __init__(self, log: EventLog, options: StreamOptions, clock: Clock) -> None:
        self._log = log
        self._options = options
        self._clock = clock
        self._anchored_at = 0.0
        self._proved_at = 0.0
        self.position: Position = ORIGIN
        """The newest record taken."""
        self.record_id = ""
        """Its id; empty where it is not known."""
        self.marks = Marks()
        self.lag = 0
        """Records known to be in the log and not taken yet."""
        self.caught_up_at = NEVER
        """The monotonic time as of which everything acknowledged has been taken."""
        self._heads: list[tuple[float, Position]] = []

    # -- calls -----------------------------------------------------------------------------------------------

    async def bounds(self) -> Bounds:
        """The log's bounds; where it vanished under a live connection, those of the one created in its place."""
        try:
            return await self._bounds()
        except PositionLost:
            await bounded(self._log.open(), self._options.call_timeout_seconds)
            return await self._bounds()

    async def read(self, start: Position, wait: float = 0.0, limit: int = _READ_LIMIT) -> list[Record]:
        """What `EventLog.read` gives, in bounded time."""
        call = self._log.read(start, limit, wait)
        return list(await bounded(call, wait + self._options.call_timeout_seconds))

    async def id_at(self, bounds: Bounds) -> str:
        """The id of the newest record; empty where the log holds none."""
        head = await self.read(bounds.head, limit=1) if bounds.first <= bounds.last else []
        return head[0].id if head else ""

    async def _bounds(self) -> Bounds:
        return await bounded(self._log.bounds(), self._options.call_timeout_seconds)

    # -- the place -------------------------------------------------------------------------------------------

    def stand(self, position: Position, record_id: str) -> None:
        """Take up a place: the next record taken is the one after `position`."""
        self.position, self.record_id, self.lag = position, record_id, 0
        self._heads.clear()
        self.meet_strangers()

    def meet_strangers(self) -> None:
        """For a few heartbeats from now, an origin may be met in the middle of its sequence."""
        self._anchored_at = self._clock.monotonic()

    def paused(self, seconds: float) -> None:
        """For so long nothing was read, and so nobody could be met."""
        self._anchored_at += seconds

    def checkpoint(self) -> Checkpoint:
        """The place, and what was read by then."""
        return Checkpoint(*self.position, self.record_id, self.marks.dump())

    async def lost(self, bounds: Bounds, position: Position, record_id: str) -> Loss | None:
        """How the log fails to hold everything from `position` on; None where it does hold it."""
        if bounds.epoch != position.epoch:
            return Loss.EPOCH
        if bounds.last < position.offset:
            return Loss.TAIL
        if bounds.last == position.offset and position.offset < bounds.first:
            return None
        if position.offset < bounds.first:
            # without an id there is nothing to recognise, and all after it is held
            return None if not record_id and position.offset == bounds.first - 1 else Loss.TRIMMED
        if not record_id:
            return None
        try:
            records = await self.read(position, limit=1)
        except PositionLost:
            return Loss.TRIMMED
        return None if records and records[0].id == record_id else Loss.REUSED

    async def prove(self, also: tuple[Position, str] = (ORIGIN, "")) -> tuple[Bounds, Loss | None]:
        """Ask for epoch and head, and expect the record at this place, and at `also` if that is further on."""
        asked_at = self._clock.monotonic()
        bounds = await self.bounds()
        loss = await self.lost(bounds, self.position, self.record_id)
        if loss is None and also[0] > self.position:
            loss = await self.lost(bounds, *also)
        if loss is None:
            self.lag = bounds.last - self.position.offset
            self.aim(asked_at, bounds.head)
        self._proved_at = asked_at
        return bounds, loss

    def aim(self, asked_at: float, head: Position) -> None:
        """The log's head was asked for at `asked_at`: once taken, everything acknowledged before then has been."""
        # the oldest, so that one who lags makes progress, and the newest; those between may be forgotten
        self._heads[1:] = [(asked_at, head)]
        self._arrive()

    def _arrive(self) -> None:
        while self._heads and self.position >= self._heads[0][1]:
            self.caught_up_at = self._heads.pop(0)[0]

    def proof_due_in(self, every: float) -> float:
        """Seconds until the next proof, where one is due `every` so many seconds; 0 or less when it is due."""
        return self._proved_at + every - self._clock.monotonic()

    # -- taking ----------------------------------------------------------------------------------------------

    async def next(self, wait: float, foresee: Callable[[list[Record]], None] | None = None) -> list[Record]:
        """The records after this place, none after `wait` seconds; each is to be taken in turn.

        Where it takes another call to know that they follow what was read, `foresee` is told of them before.
        """
        records = await self.read(self.after, wait)
        if records and self._meeting:
            if foresee:
                foresee(records)
            await self._recognise()
        return records

    async def _recognise(self) -> None:
        """Raise `PositionLost` where another record is at this place: what follows is not what followed it.

        A lost end that others have filled beyond this place shows by the next hole of an origin, but not while
        origins may be met in the middle.
        """
        if not self.record_id:
            return
        try:
            found = await self.read(self.position, limit=1)
        except PositionLost:
            return  # trimmed meanwhile, and those that follow it were held
        if not found or found[0].id != self.record_id:
            raise PositionLost(f"another record is at {self.position}")

    @property
    def after(self) -> Position:
        """The position of the next record."""
        return Position(self.position.epoch, self.position.offset + 1)

    def take(self, record: Record) -> None:
        """Move on to `record`, which has to be the next one."""
        self.expect(record)
        self.position, self.record_id = record.position, record.id
        self.lag = max(0, self.lag - 1)
        self._arrive()

    def expect(self, record: Record) -> None:
        """Raise `PositionLost` unless `record` is the next one."""
        if record.position != self.after:
            raise PositionLost(f"expected {self.after}, and the log gave {record.position}")

    def open(self, record: Record) -> Opened | DecodeError | None:
        """What `record` holds; the error where it cannot be decoded, None for a note that a log made for itself."""
        if not record.data and record.id:
            return None
        try:
            frame = open_frame(record.data)
        except DecodeError as error:
            return error
        return Opened(frame, self.marks.judge(frame, strangers=self._meeting), self.marks.get(frame.origin))

    @property
    def _meeting(self) -> bool:
        """Whether an origin may be met in the middle of its sequence."""
        interval = heartbeat_seconds(self._options.heartbeat_seconds, len(self.marks))
        return self._clock.monotonic() < self._anchored_at + _HEARTBEATS_TO_MEET_EVERYBODY * interval
