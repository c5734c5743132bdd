"""What the log has not acknowledged yet: until then it counts as removed after everything that is kept elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeAlias

from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysChanging, KeysExpired, KeysRemoved, ScopeCleared

__all__ = ["Unsaid"]

_Target: TypeAlias = tuple[str, str] | tuple[str] | tuple[()]
"""A key of a scope, a scope, or everything."""


class Unsaid:
    """What the events in the outbox name, each counted as often as one names it."""

    __slots__ = ("_targets",)

    def __init__(self) -> None:
        self._targets: Counter[_Target] = Counter()

    def add(self, events: Iterable[Event]) -> None:
        """These wait from now on."""
        for event in events:
            self._targets.update(_targets(event))

    def remove(self, events: Iterable[Event]) -> None:
        """These, added before, wait no longer."""
        for event in events:
            for target in _targets(event):
                self._targets[target] -= 1
                if not self._targets[target]:
                    del self._targets[target]

    def clear(self) -> None:
        """Nothing waits."""
        self._targets.clear()

    def covers(self, scope: str, key: str) -> bool:
        """Whether one of the events names this key."""
        targets = self._targets
        return bool(targets) and ((scope, key) in targets or (scope,) in targets or () in targets)


def _targets(event: Event) -> list[_Target]:
    match event:
        case KeysRemoved() | KeysExpired() | KeysChanging():
            return [(event.scope, key) for key in event.keys]
        case ScopeCleared():
            return [(event.scope,)]
        case CacheCleared():
            return [()]
        case _:
            return []
