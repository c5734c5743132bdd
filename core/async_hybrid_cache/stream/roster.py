"""Who else follows this log, and how far each has come: learnt from what instances say of themselves in it."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterator

from msgspec import UNSET

from async_hybrid_cache_codecs.events import InstanceSeen, InstanceStarted, InstanceStopped
from async_hybrid_cache_codecs.frames import OpenedFrame

from ..clock import Clock
from ..positions import ORIGIN, Position

__all__ = ["Roster", "RosterEntry", "heartbeat_seconds"]

_MAX_MEMBERS = 4096
_AT_FULL_PACE = 100
_HEARTBEATS_TO_BE_FORGOTTEN = 3


def heartbeat_seconds(least: float, instances: int) -> float:
    """Seconds between two heartbeats of one of so many instances: more than a hundred share the pace of a hundred."""
    return least * max(1.0, instances / _AT_FULL_PACE)


class RosterEntry:
    """Another instance: its name, what it said last, and when that was heard here (monotonic time)."""

    __slots__ = ("bound", "heard_at", "instance", "lag", "position")

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.position: Position = ORIGIN
        self.lag = 0
        self.bound: float | None = None
        self.heard_at = 0.0


class Roster:
    """The instances by origin, this one among them; at most 4096, those heard last."""

    def __init__(self, clock: Clock, least_heartbeat_seconds: float) -> None:
        self._clock = clock
        self._least = least_heartbeat_seconds
        self._entries: OrderedDict[str, RosterEntry] = OrderedDict()
        self.watchers: set[asyncio.Event] = set()
        """Set whenever an instance was heard of."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def heartbeat_seconds(self) -> float:
        """Seconds from one heartbeat of an instance to its next."""
        return heartbeat_seconds(self._least, len(self._entries))

    def others(self, origin: str) -> Iterator[tuple[str, RosterEntry]]:
        """All but `origin`, without those that have been silent so long that they can serve nothing old."""
        now, grace = self._clock.monotonic(), _HEARTBEATS_TO_BE_FORGOTTEN * self.heartbeat_seconds
        for name, entry in list(self._entries.items()):
            if entry.bound is not None and now - entry.heard_at > entry.bound + grace:
                del self._entries[name]
            elif name != origin:
                yield name, entry

    def hear(self, frame: OpenedFrame) -> None:
        """Take note of what an instance said, and of anything said by one that is known."""
        for event in frame.events:
            match event:
                case InstanceStarted() | InstanceSeen():
                    self._note(frame.origin, event)
                case InstanceStopped():
                    self._entries.pop(frame.origin, None)
                case _:
                    pass
        entry = self._entries.get(frame.origin)
        if entry is not None:
            entry.heard_at = self._clock.monotonic()
            self._entries.move_to_end(frame.origin)
        for watcher in self.watchers:
            watcher.set()

    def _note(self, origin: str, event: InstanceStarted | InstanceSeen) -> None:
        entry = self._entries.get(origin)
        if entry is None:
            entry = self._entries[origin] = RosterEntry(event.instance)
            if len(self._entries) > _MAX_MEMBERS:
                self._entries.popitem(last=False)
        # what is no number at all vouches for nothing
        entry.bound = None if event.bound is UNSET or not math.isfinite(event.bound) else event.bound
        if isinstance(event, InstanceSeen):
            entry.position, entry.lag = Position(*event.position), event.lag
