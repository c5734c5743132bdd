"""Changes announced before they are made: until they end, nothing of what they name is kept."""

from __future__ import annotations

from collections import OrderedDict

from async_hybrid_cache_codecs.events import KeysChanging

from .clock import Clock

__all__ = ["LONGEST_SECONDS", "Changes"]

LONGEST_SECONDS = 600.0
"""No announcement holds for longer."""

_ENDED = 4096


class Changes:
    """The changes under way, each with the time until which it holds by this process's own monotonic clock.

    Bounded: past `max_keys` keys, over all of them, every key counts as being changed until the last one would end.
    """

    __slots__ = ("_clock", "_ended", "_everything_until", "_held", "_max", "_named", "_weight")

    def __init__(self, clock: Clock, max_keys: int = 65_536) -> None:
        self._clock = clock
        self._max = max_keys
        self._named: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._held: dict[tuple[str, str], dict[str, float]] = {}
        self._weight = 0
        self._everything_until = 0.0
        self._ended: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._named)

    def begin(self, event: KeysChanging) -> bool:
        """A change was announced; False where it has ended already, as when its echo comes late."""
        if event.change in self._ended or not event.keys:
            return False
        self._forget(event.change)
        # a number that is none, or is too large, must not hold for ever
        seconds = event.seconds if 0 <= event.seconds <= LONGEST_SECONDS else LONGEST_SECONDS
        until = self._clock.monotonic() + seconds
        keys = tuple(dict.fromkeys(event.keys))
        self._named[event.change] = event.scope, keys
        for key in keys:
            self._held.setdefault((event.scope, key), {})[event.change] = until
        self._weight += len(keys)
        if self._weight > self._max:
            self._make_room()
        return True

    def end(self, change: str) -> None:
        """A change was confirmed, or given up."""
        self._forget(change)
        self._ended[change] = None
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)

    def cover(self, scope: str, key: str) -> bool:
        """Whether this key is being changed now."""
        if not self._held and not self._everything_until:
            return False
        now = self._clock.monotonic()
        return now < self._everything_until or any(now < until for until in self._held.get((scope, key), {}).values())

    def _forget(self, change: str) -> None:
        scope, keys = self._named.pop(change, ("", ()))
        self._weight -= len(keys)
        for key in keys:
            held = self._held[scope, key]
            del held[change]
            if not held:
                del self._held[scope, key]

    def _make_room(self) -> None:
        now = self._clock.monotonic()
        for change, (scope, keys) in list(self._named.items()):
            if self._held[scope, keys[0]][change] <= now:
                self._forget(change)
        if self._weight > self._max:
            self._everything_until = max(until for held in self._held.values() for until in held.values())
            for change in list(self._named):
                self._forget(change)
