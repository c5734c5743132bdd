"""What the relay that holds the claim does: seal what was committed, delete in L2, append, and only then forget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from async_hybrid_cache_codecs.errors import DecodeError
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved, ScopeCleared, Unknown
from async_hybrid_cache_codecs.frames import decode_event, encode_event, open_frame

from ..bounded import bounded
from ..clock import Clock
from ..log import EventLog
from ..publisher.origin import Origin
from ..publisher.remover import Remover
from ..stream.outbox import coarse
from ..stream.supervisor import Link
from .table import Kind, OutboxTable, Row

if TYPE_CHECKING:
    from ..bus import StreamOptions

__all__ = ["Term"]

logger = logging.getLogger("async_hybrid_cache")

_L2_RETRY_SECONDS = 1.0


class Term:
    """From the claim until something fails; the next term has an origin of its own.

    A frame is in the table before its first attempt, so whoever relays next sends the same bytes under the same id,
    and readers recognise what they had. A new origin matters after a seal whose commit is not known: the sequences in
    it may have been used.
    """

    def __init__(
        self,
        table: OutboxTable,
        log: EventLog,
        remover: Remover | None,
        link: Link,
        options: StreamOptions,
        clock: Clock,
        *,
        name: str,
        delete_seconds: float,
    ) -> None:
        self._table = table
        self._log = log
        self._remover = remover
        self._link = link
        self._options = options
        self._clock = clock
        self._delete_seconds = delete_seconds
        self._origin = Origin(name, clock, options.heartbeat_seconds)
        self._ask_l2_at = clock.monotonic()
        self._any_late = remover is not None
        self.relayed = 0

    async def run(self, poll_seconds: float) -> None:
        """Relay until something fails."""
        epoch = (await bounded(self._log.bounds(), self._options.call_timeout_seconds)).epoch
        for row in await self._table.read(Kind.FRAME, self._options.frame_max_events):
            await self._forward(row)
        while True:
            rows = await self._table.read(Kind.EVENT, self._options.frame_max_events)
            if rows:
                await self._forward(await self._seal(epoch, rows))
            self._link.clear("relay")
            if self._any_late and self._clock.monotonic() >= self._ask_l2_at:
                await self._catch_up()
            elif not rows:
                await self._table.wait(poll_seconds)

    async def _seal(self, epoch: int, rows: Sequence[Row]) -> Row:
        events: list[Event] = []
        size = 0
        for row in rows:
            event = _event(row)
            if len(encode_event(event)) > self._options.frame_max_bytes:
                event = coarse(event)
            size += len(encode_event(event))
            if events and size > self._options.frame_max_bytes:
                break
            events.append(event)
        self._origin.renew()
        frame = self._origin.seal(epoch, events)
        (sealed,) = await self._table.replace(rows[: len(events)], Kind.FRAME, [frame.data])
        return sealed

    async def _forward(self, row: Row) -> None:
        """L2 first, the announcement after it and whatever happened: an instance would read the old value back."""
        try:
            frame = open_frame(row.data)
        except DecodeError as error:
            logger.error("outbox relay: a frame that cannot be read (%s); everything is cleared in its place", error)
            await self._table.replace([row], Kind.EVENT, [encode_event(CacheCleared())])
            return
        late = await self._drop([CacheCleared() if isinstance(event, Unknown) else event for event in frame.events])
        await bounded(self._log.append(row.data, frame.id), self._options.append_timeout_seconds)
        self._origin.spoke()
        await self._table.replace([row], Kind.LATE, [encode_event(event) for event in late])
        self.relayed += len(frame.events)
        self._any_late = self._any_late or bool(late)

    async def _catch_up(self) -> None:
        """Do the deletes that failed, and have each announced again, now that it is done."""
        rows = await self._table.read(Kind.LATE, self._options.frame_max_events)
        self._any_late = bool(rows)
        if rows and not await self._drop([_event(row) for row in rows]):
            await self._table.replace(rows, Kind.EVENT, [row.data for row in rows])

    async def _drop(self, events: Sequence[Event]) -> list[Event]:
        """Delete in L2 what `events` name; those of which that failed, or was not tried since it failed just now."""
        remover = self._remover
        wanted = [event for event in events if isinstance(event, KeysRemoved | ScopeCleared | CacheCleared)]
        if remover is None or not wanted:
            return []
        if self._clock.monotonic() < self._ask_l2_at:
            return list(wanted)
        failures = await asyncio.gather(*(remover.drop(event, self._delete_seconds) for event in wanted))
        failed = [failure for failure in failures if failure is not None]
        if not failed:
            self._link.clear("L2")
            return []
        self._link.note("L2", failed[0])
        self._ask_l2_at = self._clock.monotonic() + _L2_RETRY_SECONDS
        return [event for event, failure in zip(wanted, failures, strict=True) if failure is not None]


def _event(row: Row) -> Event:
    """The event in a row; what cannot be read may have been any invalidation, and counts as all of them."""
    try:
        event = decode_event(row.data)
    except DecodeError:
        event = Unknown("?", False)
    if isinstance(event, Unknown):
        logger.error("outbox relay: row %d cannot be read; everything is cleared in its place", row.id)
        return CacheCleared()
    return event
