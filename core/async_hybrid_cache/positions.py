"""Positions: the only clock for order in the program."""

from __future__ import annotations

from typing import NamedTuple

from .errors import ConfigurationError

__all__ = ["ORIGIN", "Bounds", "Position", "Record"]


class Position(NamedTuple):
    """A place in the log: offsets are dense and start at 1, a larger epoch is a newer log.

    `str(position)` is the token shown to users; `Position.parse` takes it back.
    """

    epoch: int
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    @classmethod
    def parse(cls, token: str) -> Position:
        """The position behind a token; raises `ConfigurationError` for anything else."""
        epoch, dash, offset = token.partition("-")
        # isdecimal alone also takes digits of other scripts, which str(position) never writes
        if not (dash and token.isascii() and epoch.isdecimal() and offset.isdecimal()):
            raise ConfigurationError(f"not a position: {token!r}; expected what str(position) gave, e.g. '17-42'")
        return cls(int(epoch), int(offset))


ORIGIN = Position(0, 0)
"""Before every event of every log."""


class Bounds(NamedTuple):
    """What the log holds now: offsets `first` to `last`; of an empty log `first == last + 1`."""

    epoch: int
    first: int
    last: int

    @property
    def head(self) -> Position:
        """The position of the newest record."""
        return Position(self.epoch, self.last)


class Record(NamedTuple):
    """One record as the log gives it back: opaque bytes under the id that they were appended with."""

    position: Position
    id: str
    data: bytes
