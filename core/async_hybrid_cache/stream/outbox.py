"""Events that wait for the log: bounded, in order, and never dropped."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Iterable
from itertools import zip_longest

from async_hybrid_cache_codecs.events import (
    CacheCleared,
    Event,
    KeysExpired,
    KeysRemoved,
    ScopeCleared,
    TagsInvalidated,
)
from async_hybrid_cache_codecs.frames import SealedFrame, encode_event, seal

from ..joint import L2Change, Leased
from ..journal import Journal
from ..positions import Position
from .unsaid import Unsaid

__all__ = ["Outbox", "Pending", "coarse"]

_LONGEST_SCOPE = 1024
_INVALIDATIONS = (KeysRemoved, KeysExpired, TagsInvalidated, ScopeCleared, CacheCleared)


class Pending:
    """A published event on its way: `position` is None until the log has acknowledged it.

    `owed`: what it does in L2 was to be done in the same step, and was not.
    """

    __slots__ = ("__weakref__", "_waiters", "owed", "position")

    def __init__(self, owed: bool = False) -> None:
        self.position: Position | None = None
        self.owed = owed
        self._waiters: list[asyncio.Future[None]] = []

    async def wait(self, timeout: float) -> Position | None:
        """The position, once acknowledged; None after `timeout` seconds, or when the log is found to be away."""
        if self.position is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                async with asyncio.timeout(timeout):
                    await waiter
            except TimeoutError:
                pass
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self.position

    def settle(self, position: Position | None) -> None:
        """Tell those who wait: acknowledged at `position`, or (None) that the log is away."""
        if position is not None:
            self.position = position
        for waiter in self._waiters:
            # one whose loop was closed under it has nobody left who waits
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)
        self._waiters.clear()


class _Item:
    __slots__ = ("event", "lease", "notes", "pendings", "weight")

    def __init__(
        self, event: Event, pendings: list[Pending], notes: tuple[int, ...] = (), lease: Leased | None = None
    ) -> None:
        self.event = event
        self.lease = lease
        self.pendings = pendings
        self.notes = notes
        self.weight = len(event.keys) if isinstance(event, KeysRemoved | KeysExpired) else 1


class Outbox:
    """A queue of events, weighed by the keys they name.

    Past `max_events` it coarsens: keys become their scope, then everything becomes one `CacheCleared`. That is
    more than was asked for and never less. Sequences are given when a frame is sealed, so coarsening leaves no
    hole in them. With a `journal`, all that waits is in it as well.
    """

    def __init__(
        self, max_events: int, frame_max_events: int, frame_max_bytes: int, journal: Journal | None = None
    ) -> None:
        self._journal = journal
        self._max = max_events
        self._frame_max_events = frame_max_events
        self._frame_max_bytes = frame_max_bytes
        self._items: deque[_Item] = deque()
        self._weight = 0
        self._sealed: tuple[SealedFrame, list[Pending]] | None = None
        self._recovered: deque[tuple[SealedFrame, list[Pending]]] = deque()
        self._leases: list[Leased | None] = []
        self.unsaid = Unsaid()
        self.coarsened = 0

    def __len__(self) -> int:
        return len(self._items) + sum(len(frame.events) for frame, _ in self._frames())

    def waiting(self) -> list[Event]:
        """The events that are not acknowledged."""
        return [
            *(event for frame, _ in self._frames() for event in frame.events),
            *(item.event for item in self._items),
        ]

    def add(self, event: Event, note: int | None = None, change: L2Change | None = None) -> Pending:
        """Queue `event` behind all others; `note` is its number in the journal, where it has one already.

        `change`: what is to be done in L2 in the same step; see `changes`.
        """
        pending = Pending(owed=change is not None)
        lease = change if isinstance(change, Leased) else None
        if len(encode_event(event)) > self._frame_max_bytes:
            event, lease = coarse(event), None
            self.coarsened += 1
        if note is None and self._journal and isinstance(event, _INVALIDATIONS):
            note = self._journal.note(event)
        self._append(_Item(event, [pending], () if note is None else (note,), lease))
        if self._weight > self._max:
            self._coarsen()
        return pending

    def add_first(self, event: Event) -> Pending:
        """Queue `event` before all that is not sealed yet: the first word of a new origin."""
        item = _Item(event, [Pending()])
        self._items.appendleft(item)
        self._weight += item.weight
        return item.pendings[0]

    def recover(self, frames: Iterable[SealedFrame]) -> None:
        """Frames of earlier processes, whose fate is open: they go as they are, before everything else."""
        for frame in frames:
            self._recovered.append((frame, []))
            self.unsaid.add(frame.events)

    def frame(self, epoch: int, origin: str, first: int, at: int) -> SealedFrame | None:
        """The frame to append now: the sealed one whose fate is open, else a new one of what waits."""
        if self._sealed is None and self._recovered:
            self._sealed, self._leases = self._recovered.popleft(), []
        if self._sealed is None and self._items:
            events: list[Event] = []
            pendings: list[Pending] = []
            notes: list[int] = []
            leases: list[Leased | None] = []
            size = 0
            while self._items and len(events) < self._frame_max_events:
                item = self._items[0]
                size += len(encode_event(item.event))
                if events and size > self._frame_max_bytes:
                    break
                self._items.popleft()
                self._weight -= item.weight
                events.append(item.event)
                pendings.extend(item.pendings)
                notes.extend(item.notes)
                leases.append(item.lease)
            self._sealed, self._leases = (seal(epoch, origin, first, at, events), pendings), leases
            if self._journal and notes:
                self._journal.seal(self._sealed[0], tuple(notes))
        return self._sealed[0] if self._sealed else None

    def changes(self) -> list[L2Change]:
        """What is done in L2 by the events of the sealed frame, or has been done and may be done again.

        A lease is taken at the first attempt only: later nobody waits to fill it.
        """
        assert self._sealed is not None
        changes = (lease or event for event, lease in zip_longest(self._sealed[0].events, self._leases))
        return [change for change in changes if isinstance(change, L2Change)]

    def acknowledged(self, position: Position, *, changed: bool = False) -> None:
        """The sealed frame is in the log at `position`; `changed`: and its changes are made in L2."""
        assert self._sealed is not None
        frame, pendings = self._sealed
        self._sealed = None
        self.unsaid.remove(frame.events)
        if self._journal:
            self._journal.acknowledged(frame.id)
        for pending in pendings:
            pending.owed = pending.owed and not changed
            pending.settle(position)

    def withdraw(self, pending: Pending) -> bool:
        """Take an event back, where nothing else depends on it; False where it may be in the log already."""
        for item in self._items:
            if pending in item.pendings:
                item.pendings.remove(pending)
                if not item.pendings:
                    self._items.remove(item)
                    self._weight -= item.weight
                    self.unsaid.remove((item.event,))
                    if self._journal:
                        self._journal.close(item.notes)
                return True
        return False

    def clear(self) -> None:
        """Forget all that waits: the journal has it, for whoever starts next."""
        self.away()
        self._items.clear()
        self._recovered.clear()
        self.unsaid.clear()
        self._weight = 0
        self._sealed = None

    def away(self) -> None:
        """The log cannot be reached: nobody is to wait for it."""
        self._leases = []
        for _, pendings in self._frames():
            for pending in pendings:
                pending.settle(None)
        for item in self._items:
            item.lease = None
            for pending in item.pendings:
                pending.settle(None)

    def unseal(self) -> None:
        """Take a sealed frame back, to be sealed anew for another origin; one in a journal is resent as it is.

        Only where every event in it may safely be said twice: its fate stays unknown.
        """
        if self._sealed is None:
            return
        frame, pendings = self._sealed
        self._sealed = None
        if self._journal:
            self._recovered.appendleft((frame, pendings))
            return
        for event in reversed(frame.events):
            item = _Item(event, [])
            self._items.appendleft(item)
            self._weight += item.weight
        # the last event's acknowledgement stands for the frame's
        self._items[len(frame.events) - 1].pendings.extend(pendings)

    def _frames(self) -> list[tuple[SealedFrame, list[Pending]]]:
        return [*self._recovered, self._sealed] if self._sealed else [*self._recovered]

    def _append(self, item: _Item) -> None:
        self._items.append(item)
        self._weight += item.weight
        self.unsaid.add((item.event,))

    def _coarsen(self) -> None:
        self.coarsened += 1
        self._rebuild(_merged(list(self._items)))
        if self._weight > self._max:
            self._rebuild([_united(CacheCleared(), list(self._items))])

    def _rebuild(self, items: Iterable[_Item]) -> None:
        self._items = deque(items)
        if self._journal:
            for item in self._items:
                if len(item.notes) > 1:
                    gone, item.notes = item.notes, (self._journal.note(item.event),)
                    self._journal.close(gone)
        self._weight = sum(item.weight for item in self._items)
        self.unsaid.clear()
        self.unsaid.add(self.waiting())


def _merged(items: list[_Item]) -> list[_Item]:
    # a scope stands where the last event it replaces stood, so that it is newer than all of them
    merged: dict[Event, _Item] = {}
    for item in items:
        event = ScopeCleared(item.event.scope) if isinstance(item.event, KeysRemoved | KeysExpired) else item.event
        earlier = merged.pop(event, None)
        merged[event] = _united(event, [earlier, item] if earlier else [item])
    return list(merged.values())


def _united(event: Event, items: list[_Item]) -> _Item:
    notes = tuple(note for item in items for note in item.notes)
    held = [weakref.ref(pending) for item in items for pending in item.pendings]
    for item in items:
        item.pendings.clear()
    # without those that nobody else holds any more, which a long outage would gather
    pendings = [pending for reference in held if (pending := reference()) is not None]
    return _Item(event, pendings, notes)


def coarse(event: Event) -> Event:
    """What covers `event`, and is smaller."""
    match event:
        case KeysRemoved() | KeysExpired() if len(event.scope) < _LONGEST_SCOPE:
            return ScopeCleared(event.scope)
        case _:
            return CacheCleared()
