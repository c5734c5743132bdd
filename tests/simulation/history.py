"""What was published, appended and lost: against this the oracle judges."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved, ScopeCleared
from async_hybrid_cache_codecs.frames import open_frame

__all__ = ["INVALIDATIONS", "History", "covered"]

INVALIDATIONS = (KeysRemoved, ScopeCleared, CacheCleared)


class History:
    """Versions announced by each record, and every event that ever was in the log."""

    def __init__(self, now: Callable[[], float], epoch: Callable[[], int]) -> None:
        self._now, self._epoch = now, epoch
        self._announced: dict[str, dict[str, int]] = {}
        self._records: dict[str, bytes] = {}
        self._last: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._dead: set[str] = set()
        self.total: dict[str, int] = {}
        """The newest version announced of each key."""
        self.events: dict[str, tuple[float, str]] = {}
        """Invalidations by their ids: when they reached the log, and in which record."""
        self.excused: set[str] = set()
        """Keys whose announcement was lost with its writer, as docs/limits.md says."""
        self.forgotten: set[str] = set()
        """Records that the log lost when their writers were dead, or before these could notice."""
        self.broken: list[str] = []
        self._known: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._newest_known: dict[str, int] = defaultdict(int)

    def sealed(self, id: str, versions: dict[str, int]) -> None:
        """A record is about to be sent."""
        self._announced[id] = versions

    def announced(self, id: str) -> dict[str, int] | None:
        """The versions that a record announces; None where it was never sealed."""
        return self._announced.get(id)

    def appended(self, id: str, data: bytes) -> None:
        """A record is in the log; promise 6 says in what order, and how it may come again."""
        if id in self._records:
            if self._records[id] != data:
                self.broken.append(f"6: record {id} came again with other content")
            return
        self._records[id] = data
        for key, version in self._announced.get(id, {}).items():
            self.total[key] = max(version, self.total.get(key, 0))
        origin, first, last = id.rsplit(":", 2)
        if int(first) != self._last.get(origin, 0) + 1:
            self.broken.append(f"6: record {id} follows event {self._last.get(origin, 0)} of its origin")
        self._last[origin] = int(last)
        frame = open_frame(data)
        for sequence, event in enumerate(frame.events, frame.first):
            if isinstance(event, INVALIDATIONS):
                self.events[f"{origin}:{sequence}"] = self._now(), id

    def acknowledged(self, id: str) -> None:
        """The writer of a record knows that it is in the log."""
        for key, version in self._announced.get(id, {}).items():
            self._known[key].append((self._now(), version))
            self._newest_known[key] = max(version, self._newest_known[key])

    def outdated(self, key: str, version: int) -> float:
        """Since when a newer version than this one has been acknowledged to its writer; infinity for never."""
        if version >= self._newest_known[key]:
            return math.inf
        return min((at for at, newer in self._known[key] if newer > version), default=math.inf)

    def lost(self, ids: Iterable[str]) -> None:
        """The log lost these records without a word; their writers notice, if they live."""
        for id in ids:
            self._lost[id] = self._epoch()
            if id.rsplit(":", 2)[0] in self._dead:
                self._forget(id)

    def died(self, origin: str) -> None:
        """The process that wrote as `origin` died: what it had not noticed to be lost is forgotten."""
        self._dead.add(origin)
        for id, epoch in self._lost.items():
            if id.startswith(f"{origin}:") and epoch == self._epoch():
                self._forget(id)

    def _forget(self, id: str) -> None:
        self.forgotten.add(id)
        self.excused.update(self._announced.get(id, {}))


def covered(event: Event, keys: Iterable[str]) -> list[str]:
    """Those of `keys` that `event` names."""
    return [key for key in keys if not isinstance(event, KeysRemoved) or key in event.keys]
