"""What this process has filled, so that a change heard of later can still be held against it."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

from ..positions import ORIGIN, Position
from .entry import Name

__all__ = ["Fills"]


class Fills:
    """The newest fills by this process, those of them that an event has overtaken, and the newest changes of keys.

    Where the change deleted before the fill arrived, the overtaken value is still there; most often it is not. So an
    overtaken fill is in doubt until somebody looks. All three tables forget their oldest names.
    """

    def __init__(self, max_names: int = 16_384) -> None:
        self._max = max_names
        self._stamps: OrderedDict[Name, Position] = OrderedDict()
        self._doubts: OrderedDict[Name, Position] = OrderedDict()
        self._changes: OrderedDict[Name, Position] = OrderedDict()

    def begin(self, name: Name, stamp: Position) -> None:
        """A fill is about to be sent; from now on it may arrive."""
        self._put(self._stamps, name, stamp)

    def stored(self, name: Name, stamp: Position) -> None:
        """It has arrived, in the place of what was there, and nothing that is known has overtaken it."""
        # again: an older fill that was found meanwhile has made this one forgotten
        self._put(self._stamps, name, stamp)
        if self._doubts.get(name, ORIGIN) <= stamp:
            self._doubts.pop(name, None)

    def change(self, name: Name, position: Position) -> None:
        """The name was changed at `position`; an own change is known before those of others that precede it."""
        self._put(self._changes, name, max(position, self.changed_at(name)))
        stamp = self._stamps.get(name)
        if stamp is not None and stamp < position:
            del self._stamps[name]
            self._put(self._doubts, name, position)

    def changed_at(self, name: Name) -> Position:
        """Where the name was changed last, as far as is known."""
        return self._changes.get(name, ORIGIN)

    def forget(self, name: Name) -> None:
        """What was filled is deleted."""
        self._stamps.pop(name, None)
        self._doubts.pop(name, None)

    def forget_all(self) -> None:
        """Begin anew."""
        for table in (self._stamps, self._doubts, self._changes):
            table.clear()

    def doubtful(self, limit: int) -> list[tuple[Name, Position]]:
        """Some of those that are to be looked at, and the position that overtook each."""
        return list(islice(self._doubts.items(), limit))

    def doubt(self, name: Name) -> Position | None:
        """The position that put this one in doubt."""
        return self._doubts.get(name)

    def settle(self, name: Name, position: Position) -> None:
        """It was looked at, with `position` in mind."""
        if self._doubts.get(name) == position:
            del self._doubts[name]

    def _put(self, table: OrderedDict[Name, Position], name: Name, position: Position) -> None:
        table[name] = position
        table.move_to_end(name)
        if len(table) > self._max:
            table.popitem(last=False)
