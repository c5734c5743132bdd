"""What an instance applies, and when: seen where the stream hands it to the cache."""

from __future__ import annotations

from time import monotonic

import msgspec

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.positions import Position
from async_hybrid_cache_codecs.events import Event, KeysRemoved

__all__ = ["Heard", "Tape"]


class Heard(msgspec.Struct, frozen=True):
    """The write `number` of the writer `name`, applied at `at` (monotonic seconds, the same for all processes)."""

    name: str
    number: int
    at: float


class Tape:
    """Notes every numbered write that `cache` applies from now on."""

    def __init__(self, cache: AsyncHybridCache) -> None:
        self.heard: list[Heard] = []
        scopes = cache._scopes
        self._apply = scopes.apply
        scopes.apply = self._note  # type: ignore[method-assign]

    def _note(self, event: Event, position: Position) -> None:
        self._apply(event, position)
        if isinstance(event, KeysRemoved):
            for key in event.keys:
                name, found, number = key.partition("#")
                if found:
                    self.heard.append(Heard(name, int(number), monotonic()))
