"""What a change returns."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from .errors import ConfigurationError
from .positions import Position

__all__ = ["At", "Receipt", "position_of"]


class Receipt(msgspec.Struct, frozen=True):
    """How far a change has come when the call returns.

    `position` is where the log acknowledged it; None where it is `queued` (the log could not be reached, and
    it goes out when it can), or where the cache has no log.
    """

    position: Position | None
    queued: bool


At: TypeAlias = Position | Receipt | str | None
"""What names a position: itself, what a change returned, or the token that `str(position)` gave."""


def position_of(at: At) -> Position | None:
    """The position that `at` names; None where it names none, as of a change that is queued.

    Raises `ConfigurationError` for anything else.
    """
    match at:
        case None | Position():
            return at
        case Receipt():
            return at.position
        case str():
            return Position.parse(at)
        case _:
            raise ConfigurationError(f"expected a position, its token or a receipt, not {type(at).__name__}")
