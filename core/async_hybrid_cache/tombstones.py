"""One question: may a value stamped so be kept for this scope, key and tags?"""

from __future__ import annotations

from collections import OrderedDict

from async_hybrid_cache_codecs.events import (
    CacheCleared,
    Event,
    KeysChanging,
    KeysExpired,
    KeysRemoved,
    ScopeCleared,
    TagsInvalidated,
)

from .positions import ORIGIN, Position

__all__ = ["Tombstones"]

_Target = tuple[str, str] | tuple[str] | tuple[None, str]
"""A key of a scope, a scope, or a tag."""


class Tombstones:
    """What was invalidated, and at which position; bounded, with a floor that rises when entries leave.

    Below the floor nothing is known, so a load that began there may fill nothing.
    """

    __slots__ = ("_everything", "_max", "_table", "floor")

    def __init__(self, max_entries: int = 65_536) -> None:
        self._max = max_entries
        self._table: OrderedDict[_Target, Position] = OrderedDict()
        self.reset(ORIGIN)

    def __len__(self) -> int:
        return len(self._table)

    def reset(self, floor: Position) -> None:
        """Forget everything: only loads that begin at `floor` or later may fill from now on."""
        self._table.clear()
        self._everything = ORIGIN
        self.floor = floor

    def place(self, event: Event, position: Position) -> None:
        """Note what `event`, acknowledged at `position`, invalidates."""
        match event:
            case KeysRemoved() | KeysExpired() | KeysChanging():
                for key in event.keys:
                    self._put((event.scope, key), position)
            case ScopeCleared():
                self._put((event.scope,), position)
            case TagsInvalidated():
                for tag in event.tags:
                    self._put((None, tag), position)
            case CacheCleared():
                self._everything = max(self._everything, position)
            case _:
                pass

    def newest(self, scope: str, key: str, tags: tuple[str, ...] = ()) -> Position:
        """The position of the newest invalidation that concerns this entry; `ORIGIN` where none is known."""
        table = self._table
        if not table:
            return self._everything
        newest = max(self._everything, table.get((scope, key), ORIGIN), table.get((scope,), ORIGIN))
        for tag in tags:
            newest = max(newest, table.get((None, tag), ORIGIN))
        return newest

    def allow(self, scope: str, key: str, stamp: Position, began: Position) -> bool:
        """Whether a value stamped `stamp`, brought by what began at `began`, may be kept."""
        return began >= self.floor and self.newest(scope, key) <= stamp

    def _put(self, target: _Target, position: Position) -> None:
        if position < self._table.get(target, ORIGIN):
            return
        self._table[target] = position
        self._table.move_to_end(target)
        if len(self._table) > self._max:
            _, gone = self._table.popitem(last=False)
            self.floor = max(self.floor, gone)
