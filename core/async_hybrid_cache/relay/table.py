"""What a database has to do, to be an outbox."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Kind", "OutboxTable", "Row"]


class Kind(enum.IntEnum):
    """What a row holds. The numbers are in the table, and never change."""

    EVENT = 0
    """An event that a transaction has written, not sealed yet."""
    FRAME = 1
    """A sealed frame whose fate is open."""
    LATE = 2
    """An event that was sent, while L2 could not be asked to delete what it names."""


class Row(NamedTuple):
    """A row, and its place in the order in which rows were written."""

    id: int
    data: bytes


@runtime_checkable
class OutboxTable(Protocol):
    """A table of rows, in the database whose transactions write events.

    Errors are `OutboxTableError` with the driver's as the cause. Calls are bounded in time. Rows are deleted once they
    are done with, and there is no high-water mark: so a transaction that wrote early and commits late loses nothing.
    """

    async def open(self) -> None:
        """Connect in the running loop; callable again, to replace a broken connection."""
        ...

    async def close(self) -> None:
        """Let go of the connection and of the claim. Never raises."""
        ...

    async def claim(self) -> bool:
        """Become the only one who relays, until `close` or the loss of the connection; False where somebody else is."""
        ...

    async def read(self, kind: Kind, limit: int) -> Sequence[Row]:
        """The first committed rows of this kind, `limit` at most."""
        ...

    async def replace(self, gone: Sequence[Row], kind: Kind, data: Sequence[bytes]) -> Sequence[Row]:
        """Delete rows and write others behind all that there are, both or nothing; the rows written."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when rows may have been committed, after `seconds` at the latest."""
        ...
