"""L1: the entries of one scope in this process, with expiry and exact LRU eviction."""

from __future__ import annotations

import itertools
import math
from heapq import heappop, heappush, heapreplace
from typing import Any

import msgspec

from .clock import NEVER
from .copies import Copier
from .positions import Position

__all__ = ["Entry", "LocalStore"]

_DEAD = -1
_EVICTION_STEPS = 1000


class Entry(msgspec.Struct, gc=False):
    """One cached value. Served until `fresh_until`, may stand in for a failing loader until `stale_until`.

    Its TTL ends at `expires_at`; `fresh_until` is earlier where the bound on staleness has to be judged before that.
    It holds every change acknowledged before `known_at`, whatever this process has heard since (monotonic time).
    `used` is the tick of its last use; gc=False saves 16 bytes, and no cycle can run through an entry itself.
    """

    key: str
    value: Any
    copy: Copier | None
    fresh_until: float
    stale_until: float
    stamp: Position
    used: int
    expires_at: float
    known_at: float

    @property
    def gone(self) -> bool:
        """Whether it left its store."""
        return self.used == _DEAD

    def read(self) -> Any:
        """The value as a caller may have it."""
        return self.value if self.copy is None else self.copy(self.value)


class LocalStore:
    """Entries by key. A hit costs one lookup, one clock reading and one tick.

    Recency is a tick on the entry, not a move in a list, so the order of eviction is found when it is needed: a
    heap holds every entry under the tick it had when last looked at; one whose tick moved on is put back, and
    the first one whose tick did not is exactly the least recently used.

    Expired entries and heap slots of entries already gone are swept a few at each insertion, and by `sweep`
    while nothing is inserted. Eviction looks at 1000 slots at most a call, so that of a large store of which
    nearly all was used since, a few keys more than `max_keys` may stay until later insertions have caught up.

    `max_staleness` is the least bound, in seconds, of all who read here. Hits compare one number alone: no entry is
    `fresh_until` later than that bound allows, and `Staleness` moves it on when it is reached.
    """

    __slots__ = ("_cursor", "_heap", "_probes", "entries", "evictions", "max_keys", "max_staleness", "puts", "tick")

    def __init__(self, max_keys: int | None) -> None:
        self.max_keys = max_keys
        self.max_staleness = math.inf
        self.entries: dict[str, Entry] = {}
        self.tick = itertools.count(1).__next__
        self.puts = 0
        self.evictions = 0
        self._probes = 0
        self._heap: list[tuple[int, Entry]] = []
        self._cursor = 0

    @property
    def hits(self) -> int:
        """How many reads were answered: every tick that was not an insertion (or this question) is a hit."""
        self._probes += 1
        return self.tick() - self.puts - self._probes

    def resize(self, max_keys: int | None) -> None:
        """Change the bound, evicting what is now too much."""
        self.max_keys = max_keys
        while max_keys is not None and len(self.entries) > max_keys:
            self._evict()

    def tighten(self, seconds: float | None) -> None:
        """Take a bound on staleness into account; what is kept is judged by it at its next read."""
        if seconds is None or seconds >= self.max_staleness:
            return
        self.max_staleness = seconds
        self.judge_anew()

    def judge_anew(self) -> None:
        """Serve nothing beyond the bound as it is known now, not even what stands in for a loader."""
        for entry in self.entries.values():
            entry.fresh_until = min(entry.fresh_until, entry.known_at + self.max_staleness)

    def put(
        self,
        key: str,
        value: Any,
        copy: Copier | None,
        expires_at: float,
        stale_until: float,
        stamp: Position,
        now: float,
        known_at: float = NEVER,
    ) -> None:
        """Keep `value`, evicting the least recently used entry where the store is full."""
        if self.max_keys == 0:
            return
        old = self.entries.get(key)
        if old is not None:
            _kill(old)
        self.puts += 1
        fresh_until = min(expires_at, known_at + self.max_staleness)
        entry = Entry(key, value, copy, fresh_until, stale_until, stamp, self.tick(), expires_at, known_at)
        self.entries[key] = entry
        heappush(self._heap, (entry.used, entry))
        self.sweep(now, 2)
        self._evict()

    def restore(self, entry: Entry) -> None:
        """Keep an entry that was last used at its own tick, which is to be no other entry's."""
        self.entries[entry.key] = entry
        heappush(self._heap, (entry.used, entry))
        self._evict()

    def adopt(self, other: LocalStore) -> None:
        """Take over what `other` holds, of which every tick is older than any here. This store has to be empty."""
        self.entries.update(other.entries)
        self._heap = other._heap
        self._cursor = 0
        self._evict()

    def discard(self, key: str, before: Position | None = None) -> None:
        """Drop the entry of `key`; with `before`, only where it is stamped before that position."""
        entry = self.entries.get(key)
        if entry is not None and (before is None or entry.stamp < before):
            del self.entries[key]
            _kill(entry)

    def expire(self, key: str, before: Position, now: float) -> None:
        """End the freshness of an entry stamped before that position; it may still stand in for a failing loader."""
        entry = self.entries.get(key)
        if entry is not None and entry.stamp < before:
            entry.fresh_until = min(entry.fresh_until, now)
            entry.expires_at = min(entry.expires_at, now)

    def clear(self, before: Position | None = None) -> None:
        """Drop all entries; with `before`, only those stamped before that position."""
        kept = [] if before is None else [e for e in self.entries.values() if e.stamp >= before]
        # cached functions hold on to the dict, so it is emptied and never replaced
        self.entries.clear()
        self.entries.update((entry.key, entry) for entry in kept)
        self._heap = [(entry.used, entry) for entry in kept]
        self._heap.sort()
        self._cursor = 0

    def sweep(self, now: float, budget: int) -> None:
        """Look at `budget` slots further on and free those whose entry is gone or expired."""
        heap = self._heap
        for _ in range(min(budget, len(heap))):
            if self._cursor >= len(heap):
                self._cursor = 0
                if not heap:
                    return
            entry = heap[self._cursor][1]
            if entry.used != _DEAD and entry.stale_until <= now:
                del self.entries[entry.key]
                _kill(entry)
            if entry.used == _DEAD:
                _remove_slot(heap, self._cursor)
            else:
                self._cursor += 1

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def slots(self) -> int:
        """Heap slots in use: the entries, and those gone whose slot has not been swept yet."""
        return len(self._heap)

    def _evict(self) -> None:
        """Evict what is too much, looking at so many slots that the loop does not notice; later puts go on."""
        heap = self._heap
        for _ in range(_EVICTION_STEPS):
            if self.max_keys is None or len(self.entries) <= self.max_keys:
                return
            queued, entry = heap[0]
            if entry.used == _DEAD:
                heappop(heap)
            elif entry.used != queued:
                heapreplace(heap, (entry.used, entry))
            else:
                heappop(heap)
                del self.entries[entry.key]
                _kill(entry)
                self.evictions += 1


def _kill(entry: Entry) -> None:
    entry.used = _DEAD
    entry.value = None


def _remove_slot(heap: list[tuple[int, Entry]], index: int) -> None:
    last = heap.pop()
    if index == len(heap):
        return
    # heapq removes only the top: put the last slot here, then move it up or down to where it belongs
    while index and last[0] < heap[parent := (index - 1) >> 1][0]:
        heap[index] = heap[parent]
        index = parent
    size = len(heap)
    while (child := 2 * index + 1) < size:
        if child + 1 < size and heap[child + 1][0] < heap[child][0]:
            child += 1
        if last[0] <= heap[child][0]:
            break
        heap[index] = heap[child]
        index = child
    heap[index] = last
