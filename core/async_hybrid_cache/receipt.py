"""What a change returns."""

from __future__ import annotations

import msgspec

from .positions import Position

__all__ = ["Receipt"]


class Receipt(msgspec.Struct, frozen=True):
    """How far a change has come when the call returns.

    `position` is where the log acknowledged it; None where it is `queued` (the log could not be reached, and
    it goes out when it can), or where the cache has no log.
    """

    position: Position | None
    queued: bool
