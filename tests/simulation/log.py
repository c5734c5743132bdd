"""The log: what its server holds, and one instance's view of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from async_hybrid_cache import Bounds, Position, PositionLost, Record
from async_hybrid_cache.positions import ORIGIN

from .link import Link

__all__ = ["SharedLog", "SimulatedLog"]

_Held = tuple[int, int, list[tuple[str, bytes]], list[float]]


class SharedLog:
    """The log itself. `on_append` hears of every record, `on_loss` of those that a fault takes away unannounced."""

    def __init__(
        self,
        now: Callable[[], float],
        on_append: Callable[[str, bytes], None],
        on_loss: Callable[[list[str]], None] = lambda ids: None,
    ) -> None:
        self._now = now
        self._on_append = on_append
        self._on_loss = on_loss
        self.epoch = 0
        self.first = 1
        self.records: list[tuple[str, bytes]] = []
        self.times: list[float] = []
        self.exists = False
        # first and last place, by the epoch that the log kept
        self._lost: dict[int, tuple[Position, Position]] = {}
        self._largest = 0
        self._waiting: list[tuple[asyncio.Future[list[Record]], Position, int]] = []

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1

    @property
    def bounds(self) -> Bounds:
        self._check()
        return Bounds(self.epoch, self.first, self.last)

    def ids(self) -> set[str]:
        """The records held, but for those that came again behind later ones of their origin."""
        newest: dict[str, int] = {}
        found: set[str] = set()
        for id, _ in self.records:
            origin, first, _ = id.rsplit(":", 2)
            if int(first) > newest.get(origin, 0):
                newest[origin] = int(first)
                found.add(id)
        return found

    def lost_end(self, position: Position) -> Position | None:
        """The last place of an end that was lost unannounced and held `position`; None where none did."""
        first, last = self._lost.get(position.epoch, (position, ORIGIN))
        return last if first <= position <= last else None

    def create(self, above: int = 0) -> None:
        """A new log, of a larger epoch than any before."""
        self.epoch = self._largest = max(self._largest + 1, above + 1)
        self.first, self.records, self.times, self.exists = 1, [], [], True

    def append(self, id: str, data: bytes, remembers: bool, also: Callable[[], None] = lambda: None) -> Position:
        """One more record, and just before it `also`, unless the server `remembers` that it has it."""
        self._check()
        if remembers:
            for number, (other, _) in enumerate(self.records):
                if other == id:
                    return Position(self.epoch, self.first + number)
        also()
        self.records.append((id, data))
        self.times.append(self._now())
        self._on_append(id, data)
        for found, start, limit in self._waiting.copy():
            # a server wakes those for whom it has something, and not those who wait behind an end that it lost
            if start <= Position(self.epoch, self.last):
                self._settle(found, start, limit)
        return Position(self.epoch, self.last)

    def fetch(self, start: Position, limit: int) -> list[Record]:
        """The records from `start` on."""
        self._check()
        if start.epoch != self.epoch or start.offset < self.first or start.offset > self.last + 1:
            raise PositionLost("not held")
        index = start.offset - self.first
        records = self.records[index : index + limit]
        return [Record(Position(self.epoch, start.offset + n), *record) for n, record in enumerate(records)]

    def wait(self, start: Position, limit: int, seconds: float) -> asyncio.Future[list[Record]]:
        """What there is from `start` on at the next append, or after `seconds`."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Record]] = loop.create_future()
        self._waiting.append((found, start, limit))
        loop.call_later(seconds, self._settle, found, start, limit)
        return found

    def _settle(self, found: asyncio.Future[list[Record]], start: Position, limit: int) -> None:
        if not found.done():
            self._waiting = [waiting for waiting in self._waiting if waiting[0] is not found]
            try:
                found.set_result(self.fetch(start, limit))
            except PositionLost as error:
                found.set_exception(error)

    def _check(self) -> None:
        if not self.exists:
            raise PositionLost("the log is gone")

    # -- faults ----------------------------------------------------------------------------------------------

    def trim(self, keep: int) -> None:
        """Retention: the oldest go, and the log says so."""
        gone = max(0, len(self.records) - keep)
        self.first += gone
        del self.records[:gone], self.times[:gone]

    def lose_tail(self, count: int) -> None:
        """A failover to a replica that lagged behind."""
        kept, head = max(0, len(self.records) - count), Position(self.epoch, self.last)
        self._on_loss([id for id, _ in self.records[kept:]])
        del self.records[kept:], self.times[kept:]
        self._lost_up_to(head)

    def delete(self) -> None:
        self.exists, self.records, self.times = False, [], []

    def copy(self) -> _Held:
        """A backup."""
        return self.epoch, self.first, self.records.copy(), self.times.copy()

    def restore(self, held: _Held) -> None:
        """The backup instead of whatever there is now."""
        epoch, first, records, times = held
        kept, head = {id for id, _ in records}, Position(self.epoch, self.last)
        if self.exists:
            self._on_loss([id for id, _ in self.records if id not in kept])
        self.epoch, self.first, self.records, self.times, self.exists = epoch, first, [*records], [*times], True
        self._lost_up_to(head)

    def _lost_up_to(self, head: Position) -> None:
        since = Position(self.epoch, self.last + 1)
        first, last = self._lost.get(self.epoch, (since, head))
        self._lost[self.epoch] = min(first, since), max(last, head)


class SimulatedLog:
    """One instance's `EventLog` on the shared log."""

    def __init__(self, log: SharedLog, link: Link, remembers: bool) -> None:
        self._log = log
        self._link = link
        self._remembers = remembers

    async def open(self) -> None:
        await self._link.ask(lambda: None if self._log.exists else self._log.create())

    async def close(self) -> None:
        return None

    async def append(self, record: bytes, id: str) -> Position:
        return await self.append_with(record, id, lambda: None)

    async def append_with(self, record: bytes, id: str, also: Callable[[], None]) -> Position:
        """`append`, and `also` in the same step of the server."""
        return await self._link.ask(lambda: self._log.append(id, record, self._remembers, also))

    async def bounds(self) -> Bounds:
        return await self._link.ask(lambda: self._log.bounds)

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        def serve() -> list[Record] | asyncio.Future[list[Record]]:
            found = self._log.fetch(start, limit)
            return found if found or wait <= 0 else self._log.wait(start, limit, wait)

        return await self._link.ask(serve)

    async def renew(self, above: int) -> None:
        def serve() -> None:
            if not self._log.exists or self._log.epoch <= above:
                self._log.create(above)

        await self._link.ask(serve)
