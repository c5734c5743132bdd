"""Entries on their way from a snapshot into L1."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysExpired, KeysRemoved, ScopeCleared

from ..positions import Position
from ..store import Entry, LocalStore

if TYPE_CHECKING:
    from ..scopes import Scope

__all__ = ["Staged"]

_MAX_REFUSED = 65_536


class Staged:
    """What was read from a snapshot. Nobody can read it before the events that it missed were applied to it.

    While it is being read, what this process drops is remembered, so that it is not staged afterwards; past 65 536
    keys nothing of the snapshot is used.
    """

    def __init__(self, on_lost: Callable[[str], None]) -> None:
        self.lost = on_lost
        """To be called with the reason where the log cannot tell what the snapshot missed."""
        self._stores: dict[str, tuple[Scope, LocalStore]] = {}
        self._reading = True
        self._refused: set[tuple[str, str] | str | None] = set()
        self.moved = 0
        """Entries that reached L1."""

    def put(self, scope: Scope, entry: Entry) -> None:
        """Stage one entry, unless it was dropped meanwhile."""
        if not self._refused.isdisjoint((None, scope.name, (scope.name, entry.key))):
            return
        staged = self._stores.get(scope.name)
        if staged is None:
            staged = self._stores[scope.name] = scope, LocalStore(scope.store.max_keys)
        staged[1].restore(entry)

    def complete(self) -> None:
        """Everything was read."""
        self._reading = False
        self._refused.clear()

    def drop_keys(self, scope: str, keys: Collection[str], before: Position | None = None) -> None:
        """Drop these entries; with `before`, only where they are stamped before that position."""
        for store in self._find(scope):
            for key in keys:
                store.discard(key, before)
        if self._reading:
            self._refused.update((scope, key) for key in keys)
            if len(self._refused) > _MAX_REFUSED:
                self._refused = {None}

    def drop_scopes(self, scope: str | None, before: Position | None = None) -> None:
        """`drop_keys` for every key of one scope, or of all."""
        for store in self._find(scope):
            store.clear(before)
        if self._reading:
            self._refused.add(scope)

    def apply(self, event: Event, position: Position | None, now: float) -> None:
        """Do to staged entries what `event` does to those in L1; None for one that is newer than all of them."""
        match event:
            case KeysExpired() if position is not None:
                for store in self._find(event.scope):
                    for key in event.keys:
                        store.expire(key, position, now)
            case KeysRemoved() | KeysExpired():
                self.drop_keys(event.scope, event.keys, position)
            case ScopeCleared():
                self.drop_scopes(event.scope, position)
            case CacheCleared():
                self.drop_scopes(None, position)
            case _:
                pass

    def move(self) -> None:
        """Put everything into L1, which has to be empty."""
        for scope, store in self._stores.values():
            scope.store.adopt(store)
            self.moved += len(store)
        self._stores.clear()

    def _find(self, scope: str | None) -> list[LocalStore]:
        if scope is None:
            return [store for _, store in self._stores.values()]
        staged = self._stores.get(scope)
        return [staged[1]] if staged else []
