"""A log in the memory of the process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

from async_hybrid_cache.errors import LogUnavailable, PositionLost
from async_hybrid_cache.log import checked_record
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache.validation import positive_int

__all__ = ["MemoryLog"]


class _Records:
    """What the logs of one name share, over all threads of the process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.epoch = 0  # of a log that does not exist: not begun yet, or deleted
        self.first = 1
        self.last = 0
        self.held: dict[int, Record] = {}
        self.offsets: dict[str, int] = {}
        self.waiters: set[asyncio.Future[None]] = set()

    def begin(self, above: int) -> None:
        self.empty(max(time.time_ns() // 1_000, above + 1))

    def empty(self, epoch: int) -> None:
        self.epoch = epoch
        self.first, self.last = 1, 0
        self.held.clear()
        self.offsets.clear()

    def trim(self, retention: int) -> None:
        while self.last - self.first >= retention:
            del self.offsets[self.held.pop(self.first).id]
            self.first += 1

    def wake(self) -> None:
        for waiter in self.waiters:
            try:
                waiter.get_loop().call_soon_threadsafe(_finish, waiter)
            except RuntimeError:
                continue  # its loop was closed without the reader being cancelled
        self.waiters.clear()


_named: dict[str, _Records] = {}
_naming = threading.Lock()


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class MemoryLog:
    """A log that lives as long as the process, for tests and for a single worker.

    Logs with the same `name` share their records, also between event loops in different threads; without a
    name they belong to this object alone. An append trims to its own log's `retention_records` (default
    100 000), and an id is recognised as long as its record is held. A name is kept until `delete`. One object
    serves one stream.
    """

    def __init__(self, name: str | None = None, *, retention_records: int = 100_000) -> None:
        self._name = name
        self._retention = positive_int("retention_records", retention_records)
        self._seen = 0
        self._opened: int | None = None
        self._records = _Records()

    @staticmethod
    def delete(name: str) -> None:
        """Free the records of `name`, from any thread; does nothing where there are none.

        Every log that is open on them finds them lost; the next `open` begins a new epoch.
        """
        with _naming:
            if (records := _named.pop(name, None)) is not None:
                with records.lock:
                    records.empty(epoch=0)
                    records.wake()

    def __repr__(self) -> str:
        return f"MemoryLog({self._name!r})"

    async def open(self) -> None:
        """Draw an epoch where nobody has yet."""
        with _naming:
            if self._name is not None:
                self._records = _named.setdefault(self._name, self._records)
            with self._records.lock:
                if not self._records.epoch:
                    self._records.begin(above=self._seen)
                self._opened = self._seen = self._records.epoch

    async def close(self) -> None:
        """Stop using the records, which stay for others and for the next `open`."""
        self._opened = None

    async def append(self, record: bytes, id: str) -> Position:
        """Append and wake the readers; `PositionLost` where the epoch is not the one that was opened."""
        records, opened = self._held()
        data = bytes(checked_record(record))
        with records.lock:
            if records.epoch != opened:
                raise PositionLost(f"the log {self._name!r} was deleted or has begun a new epoch; open it again")
            known = records.offsets.get(id)
            if known is not None:
                return Position(opened, known)
            records.last += 1
            position = Position(opened, records.last)
            records.held[position.offset] = Record(position, id, data)
            records.offsets[id] = position.offset
            records.trim(self._retention)
            records.wake()
            return position

    async def bounds(self) -> Bounds:
        """Epoch, first and last offset."""
        records, _ = self._held()
        with records.lock:
            self._expect_begun()
            return Bounds(records.epoch, records.first, records.last)

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        """At most `limit` records from `start` on, or none after `wait` seconds."""
        records, _ = self._held()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            waiter = loop.create_future()
            with records.lock:
                found = self._from(start, limit)
                if found:
                    return found
                left = deadline - loop.time()
                if left <= 0:
                    return []
                records.waiters.add(waiter)
            try:
                await asyncio.wait((waiter,), timeout=left)
            finally:
                with records.lock:
                    records.waiters.discard(waiter)

    async def renew(self, above: int) -> None:
        """Begin an epoch larger than `above`, where the log's is not already."""
        records, _ = self._held()
        with records.lock:
            self._expect_begun()
            if records.epoch <= above:
                records.begin(above=max(above, self._seen))
                records.wake()
            self._opened = self._seen = max(self._seen, records.epoch)

    def _held(self) -> tuple[_Records, int]:
        if self._opened is None:
            raise LogUnavailable(f"the log {self._name!r} is not open")
        return self._records, self._opened

    def _expect_begun(self) -> None:
        if not self._records.epoch:
            raise PositionLost(f"the log {self._name!r} was deleted; open it again")

    def _from(self, start: Position, limit: int) -> list[Record]:
        records = self._records
        if start.epoch != records.epoch:
            raise PositionLost(f"{start} is of another epoch than the log, which is at {records.epoch}")
        if not records.first <= start.offset <= records.last + 1:
            raise PositionLost(f"{start} is not in the log, which holds {records.first} to {records.last}")
        stop = min(start.offset + limit, records.last + 1)
        return [records.held[offset] for offset in range(start.offset, stop)]
