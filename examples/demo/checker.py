"""The judge: knows what was answered over HTTP and nothing else, least of all the cache.

A read is stale if it shows an older version than a write that was answered before the read began, provided that the
process which answered the read had applied the write's position by then, or had made that write itself.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

__all__ = ["Checker", "Position", "Read", "Write", "parse_position", "show_position"]

Position = tuple[int, int]


def parse_position(token: str | None) -> Position | None:
    """`17-42` as (17, 42), which compares as the log is ordered."""
    if not token:
        return None
    epoch, _, offset = token.partition("-")
    return int(epoch), int(offset)


def show_position(position: Position | None) -> str:
    """The token that `parse_position` reads."""
    return f"{position[0]}-{position[1]}" if position else "nothing"


class Write(NamedTuple):
    """A write that `instance` answered at `answered`, and the log's `position` of its invalidation."""

    user: str
    version: int
    instance: str
    position: Position | None
    answered: float


class Read(NamedTuple):
    """A read sent to `instance` at `began`, which had applied the log up to `position` when it took it up."""

    user: str
    version: int
    instance: str
    position: Position | None
    began: float


class Checker:
    """Judges each read at once; tell it of every write before any read that begins later is told.

    `reads` counts all, `checked` those that had to show some write, `across` those that had to show one made through
    another process. `stale` describes the reads that failed.
    """

    def __init__(self) -> None:
        self._writes: defaultdict[str, list[Write]] = defaultdict(list)
        self.reads = 0
        self.checked = 0
        self.across = 0
        self.stale: list[str] = []

    def wrote(self, write: Write) -> None:
        """A write was answered."""
        self._writes[write.user].append(write)

    def read(self, read: Read) -> None:
        """A read was answered."""
        self.reads += 1
        due = [write for write in self._writes[read.user] if _binds(write, read)]
        if not due:
            return
        self.checked += 1
        self.across += any(write.instance != read.instance for write in due)
        newest = max(due, key=lambda write: write.version)
        if read.version < newest.version:
            self.stale.append(
                f"{read.instance} showed version {read.version} of {read.user} "
                f"{(read.began - newest.answered) * 1e3:.1f} ms after {newest.instance} answered version "
                f"{newest.version}; it had applied {show_position(read.position)}, "
                f"the write is at {show_position(newest.position)}"
            )


def _binds(write: Write, read: Read) -> bool:
    """Whether `read` had to show `write` or a newer one."""
    if read.began <= write.answered:
        return False
    if read.instance == write.instance:
        return True
    return write.position is not None and read.position is not None and read.position >= write.position
