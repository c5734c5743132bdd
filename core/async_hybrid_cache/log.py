"""What a message broker has to implement, and all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .errors import LogRefused
from .positions import Bounds, Position, Record

__all__ = ["RECORD_MAX_BYTES", "EventLog", "checked_record"]

RECORD_MAX_BYTES = 1_000_000
"""Every log takes records up to this size and refuses larger ones, so that one can stand in for another."""


def checked_record(record: bytes) -> bytes:
    """`record`, where a log has to take it; `LogRefused` where it is larger than `RECORD_MAX_BYTES`."""
    if len(record) > RECORD_MAX_BYTES:
        raise LogRefused(f"a record of {len(record)} bytes; a log takes at most {RECORD_MAX_BYTES}")
    return record


class EventLog(Protocol):
    """A durable, totally ordered, replayable log of opaque records.

    Constructing one touches neither the network nor an event loop; `open` binds it to the running loop, and
    after `close` it may be opened again, in another loop too. Errors are `LogUnavailable` (worth another try),
    `LogRefused` (not) and `PositionLost`, with the driver's own as the cause. Every call may be cancelled at
    any await, and `append`, `read` and `bounds` may run at the same time.

    The stream bounds every call in time, proves epoch and head at least every second, and calls `open` again
    after any error; a log therefore needs no retries, no timers and no reconnecting of its own. What it must
    not do is reconnect behind the stream's back: a connection lost inside `read` is an error.
    """

    async def open(self) -> None:
        """Connect, and where the log does not exist create it, atomically, with a new epoch.

        A new epoch is larger than any that this object has seen. Callable again on an open log: it then
        replaces a broken connection and creates the log again if it vanished.
        """
        ...

    async def close(self) -> None:
        """Let go of every resource that this object made, and of none that it was given. Never raises."""
        ...

    async def append(self, record: bytes, id: str) -> Position:
        """Append and return the position, once the record is as durable as the log makes it.

        Never creates the log: where it vanished, `PositionLost`, and where a new epoch was begun since `open`.
        A repeat, by this object, of an id whose fate was unknown returns the first position. Any other repeat
        does no harm: it returns the position of a record with that id and data, the first or a second one.
        `LogRefused`, and nothing written, where `record` is larger than `RECORD_MAX_BYTES`.
        """
        ...

    async def bounds(self) -> Bounds:
        """Epoch, first and last offset, asked of the server now. `PositionLost` where the log vanished."""
        ...

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        """At most `limit` records from `start` on, inclusive, in order and without a hole.

        An empty result after `wait` seconds means that `start` has not been written yet. `PositionLost` where
        `start` is of another epoch, is no longer held, or lies more than one past the last record.
        """
        ...

    async def renew(self, above: int) -> None:
        """Throw the log's content away and begin an epoch larger than `above`.

        Does nothing where the log's epoch already is larger: of many instances that find out at once that
        acknowledged records were lost, one succeeds.
        """
        ...
