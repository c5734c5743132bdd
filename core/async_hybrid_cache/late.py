"""L2 deletes that failed: done later, and until then L2 is not asked for what they concern."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared

__all__ = ["LateDeletes", "Removal"]

Removal: TypeAlias = KeysRemoved | ScopeCleared | CacheCleared
"""An event that names what has to be deleted."""

_MOST_KEYS = 10_000
_MOST_SCOPES = 1_000


class LateDeletes:
    """A bounded set of deletes still to be done: keys coarsen to their scope, scopes to everything."""

    __slots__ = ("_everything", "_keys", "_scopes")

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], None] = {}
        self._scopes: dict[str, None] = {}
        self._everything = False

    def __bool__(self) -> bool:
        return self._everything or bool(self._scopes) or bool(self._keys)

    def __len__(self) -> int:
        return self._everything + len(self._scopes) + len(self._keys)

    def add_keys(self, scope: str, keys: Iterable[str]) -> None:
        """These keys could not be deleted."""
        if self._everything or scope in self._scopes:
            return
        self._keys.update(((scope, key), None) for key in keys)
        if len(self._keys) > _MOST_KEYS:
            for name in {scope for scope, _ in self._keys}:
                self.add_scope(name)

    def add_scope(self, scope: str | None) -> None:
        """This scope (None: any) could not be cleared."""
        if scope is not None and len(self._scopes) < _MOST_SCOPES:
            self._scopes[scope] = None
            self._keys = {pair: None for pair in self._keys if pair[0] != scope}
        else:
            self._everything = True
            self._scopes.clear()
            self._keys.clear()

    def covers(self, scope: str, key: str) -> bool:
        """Whether what L2 holds for this key may be something that was to be deleted."""
        return bool(self) and (self._everything or scope in self._scopes or (scope, key) in self._keys)

    def holds(self, event: Removal) -> bool:
        """Whether all that `event` names is to be deleted anyway."""
        match event:
            case KeysRemoved():
                return all(self.covers(event.scope, key) for key in event.keys)
            case ScopeCleared():
                return self._everything or event.scope in self._scopes
            case _:
                return self._everything

    def events(self) -> list[Removal]:
        """What has to be deleted, as the events that will tell it to the others again."""
        if self._everything:
            return [CacheCleared()]
        found: list[Removal] = [ScopeCleared(scope) for scope in self._scopes]
        by_scope: dict[str, list[str]] = {}
        for scope, key in self._keys:
            by_scope.setdefault(scope, []).append(key)
        found.extend(KeysRemoved(scope, tuple(keys)) for scope, keys in by_scope.items())
        return found

    def add(self, event: Removal) -> None:
        """What this event names could not be deleted."""
        match event:
            case KeysRemoved():
                self.add_keys(event.scope, event.keys)
            case ScopeCleared():
                self.add_scope(event.scope)
            case _:
                self.add_scope(None)
