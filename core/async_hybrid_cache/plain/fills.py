"""What this process has filled, so that a change heard of later can still be held against it."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from ..positions import ORIGIN, Position
from .entry import Name

__all__ = ["Fills"]


class Fills:
    """The newest fills by this process, and those of them which an event has overtaken: the doubtful ones.

    Where the change deleted before the fill arrived, the overtaken value is still there; most often it is not. Both
    are bounded: the oldest fill is forgotten, the oldest doubt is handed out as `surplus`.
    """

    def __init__(self, max_names: int = 16_384) -> None:
        self._max = max_names
        self._stamps: OrderedDict[Name, Position] = OrderedDict()
        self._doubts: OrderedDict[Name, Position] = OrderedDict()

    def begin(self, name: Name, stamp: Position) -> None:
        """A fill is about to be sent; from now on it may arrive."""
        self._stamps[name] = stamp
        self._stamps.move_to_end(name)
        if len(self._stamps) > self._max:
            self._stamps.popitem(last=False)

    def stored(self, name: Name, stamp: Position) -> None:
        """It has arrived, in the place of what was there."""
        if self._doubts.get(name, ORIGIN) <= stamp:
            self._doubts.pop(name, None)

    def overtake(self, name: Name, position: Position) -> Name | None:
        """The name was changed at `position`; returns a doubt that there is no more room for."""
        stamp = self._stamps.get(name)
        if stamp is None or position <= stamp:
            return None
        del self._stamps[name]
        self._doubts[name] = position
        return self._doubts.popitem(last=False)[0] if len(self._doubts) > self._max else None

    def forget(self, name: Name) -> None:
        """What was filled is deleted."""
        self._stamps.pop(name, None)
        self._doubts.pop(name, None)

    def forget_scope(self, scope: str | None) -> None:
        """The same for a scope, or for all."""
        for table in (self._stamps, self._doubts):
            for name in [name for name in table if scope is None or name[0] == scope]:
                del table[name]

    def doubtful(self, limit: int) -> list[tuple[Name, Position]]:
        """Some of those that are to be looked at, and the position that overtook each."""
        return list(islice(self._doubts.items(), limit))

    def settle(self, name: Name, position: Position) -> None:
        """It was looked at, with `position` in mind."""
        if self._doubts.get(name) == position:
            del self._doubts[name]
