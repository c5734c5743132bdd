"""Events that wait for the log: bounded, in order, and never dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysExpired, KeysRemoved, ScopeCleared
from async_hybrid_cache_codecs.frames import SealedFrame, encode_event, seal

from ..positions import Position

__all__ = ["Outbox", "Pending"]

_LONGEST_SCOPE = 1024


class Pending:
    """A published event on its way: `position` is None until the log has acknowledged it."""

    __slots__ = ("_waiters", "position")

    def __init__(self) -> None:
        self.position: Position | None = None
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
    __slots__ = ("event", "pendings", "weight")

    def __init__(self, event: Event, pendings: list[Pending]) -> None:
        self.event = event
        self.pendings = pendings
        self.weight = len(event.keys) if isinstance(event, KeysRemoved | KeysExpired) else 1


class Outbox:
    """A queue of events, weighed by the keys they name.

    Past `max_events` it coarsens: keys become their scope, then everything becomes one `CacheCleared`. That is
    more than was asked for and never less. Sequences are given when a frame is sealed, so coarsening leaves no
    hole in them.
    """

    def __init__(self, max_events: int, frame_max_events: int, frame_max_bytes: int) -> None:
        self._max = max_events
        self._frame_max_events = frame_max_events
        self._frame_max_bytes = frame_max_bytes
        self._items: deque[_Item] = deque()
        self._weight = 0
        self._sealed: tuple[SealedFrame, list[Pending]] | None = None
        self.coarsened = 0

    def __len__(self) -> int:
        return len(self._items) + (len(self._sealed[0].events) if self._sealed else 0)

    def waiting(self) -> list[Event]:
        """The events that are not acknowledged."""
        return [*(self._sealed[0].events if self._sealed else ()), *(item.event for item in self._items)]

    def add(self, event: Event) -> Pending:
        """Queue `event` behind all others."""
        pending = Pending()
        if len(encode_event(event)) > self._frame_max_bytes:
            event = _coarse(event)
            self.coarsened += 1
        self._append(_Item(event, [pending]))
        if self._weight > self._max:
            self._coarsen()
        return pending

    def add_first(self, event: Event) -> Pending:
        """Queue `event` before all that is not sealed yet: the first word of a new origin."""
        item = _Item(event, [Pending()])
        self._items.appendleft(item)
        self._weight += item.weight
        return item.pendings[0]

    def frame(self, epoch: int, origin: str, first: int, at: int) -> SealedFrame | None:
        """The frame to append now: the sealed one whose fate is open, else a new one of what waits."""
        if self._sealed is None and self._items:
            events: list[Event] = []
            pendings: list[Pending] = []
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
            self._sealed = seal(epoch, origin, first, at, events), pendings
        return self._sealed[0] if self._sealed else None

    def acknowledged(self, position: Position) -> None:
        """The sealed frame is in the log at `position`."""
        assert self._sealed is not None
        _, pendings = self._sealed
        self._sealed = None
        for pending in pendings:
            pending.settle(position)

    def away(self) -> None:
        """The log cannot be reached: nobody is to wait for it."""
        pendings = self._sealed[1] if self._sealed else []
        for pending in pendings:
            pending.settle(None)
        for item in self._items:
            for pending in item.pendings:
                pending.settle(None)

    def unseal(self) -> None:
        """Take a sealed frame back, to be sealed anew for another origin.

        Only where every event in it may safely be said twice: its fate stays unknown.
        """
        if self._sealed is None:
            return
        frame, pendings = self._sealed
        self._sealed = None
        for event in reversed(frame.events):
            item = _Item(event, [])
            self._items.appendleft(item)
            self._weight += item.weight
        # the last event's acknowledgement stands for the frame's
        self._items[len(frame.events) - 1].pendings.extend(pendings)

    def _append(self, item: _Item) -> None:
        self._items.append(item)
        self._weight += item.weight

    def _coarsen(self) -> None:
        self.coarsened += 1
        waiting = list(self._items)
        self._rebuild(_merged(waiting))
        if self._weight > self._max:
            pendings = [pending for item in waiting for pending in item.pendings]
            self._rebuild([_Item(CacheCleared(), pendings)])

    def _rebuild(self, items: Iterable[_Item]) -> None:
        self._items = deque(items)
        self._weight = sum(item.weight for item in self._items)


def _merged(items: list[_Item]) -> list[_Item]:
    # a scope stands where the last event it replaces stood, so that it is newer than all of them
    merged: dict[Event, _Item] = {}
    for item in items:
        event = ScopeCleared(item.event.scope) if isinstance(item.event, KeysRemoved | KeysExpired) else item.event
        earlier = merged.pop(event, None)
        merged[event] = _Item(event, (earlier.pendings if earlier else []) + item.pendings)
    return list(merged.values())


def _coarse(event: Event) -> Event:
    match event:
        case KeysRemoved() | KeysExpired() if len(event.scope) < _LONGEST_SCOPE:
            return ScopeCleared(event.scope)
        case _:
            return CacheCleared()
