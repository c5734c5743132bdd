"""A log that can be told to fail in ways that a real one cannot be made to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from async_hybrid_cache.errors import LogUnavailable
from async_hybrid_cache.positions import Bounds, Position, Record
from async_hybrid_cache_brokers.memory import MemoryLog

__all__ = ["ScriptedLog"]


class ScriptedLog(MemoryLog):
    """A `MemoryLog` with faults of this one handle; `recognise=False` is a server that knows no ids."""

    def __init__(self, name: str | None = None, *, recognise: bool = True, retention_records: int = 100_000) -> None:
        super().__init__(name, retention_records=retention_records)
        self.recognise = recognise
        self.away = False
        self.frozen = False
        self.lose_acknowledgements = 0
        self.deaf = False
        self.on_append: Callable[[bytes, str], None] | None = None
        self.attempts: list[tuple[str, bytes]] = []
        self.opened = 0
        self.proofs = 0

    async def _fault(self) -> None:
        if self.frozen:
            await asyncio.Event().wait()
        if self.away:
            raise LogUnavailable("the log is away")

    async def open(self) -> None:
        self.opened += 1
        await self._fault()
        await super().open()

    async def close(self) -> None:
        if self.frozen:
            await asyncio.Event().wait()
        await super().close()

    async def append(self, record: bytes, id: str) -> Position:
        self.attempts.append((id, record))
        await self._fault()
        if not self.recognise:
            self._records.offsets.pop(id, None)
        position = await super().append(record, id)
        if self.on_append:
            self.on_append(record, id)
        if self.lose_acknowledgements:
            self.lose_acknowledgements -= 1
            raise LogUnavailable("the connection broke before the answer")
        return position

    async def bounds(self) -> Bounds:
        await self._fault()
        self.proofs += 1
        return await super().bounds()

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        await self._fault()
        found = await super().read(start, limit, wait)
        await self._fault()
        if self.deaf and limit > 1:  # a proof reads one record alone
            await asyncio.sleep(wait)
            return []
        return found

    async def renew(self, above: int) -> None:
        await self._fault()
        await super().renew(above)

    # -- what happens to the server itself --------------------------------------------------------------------

    def forge(self, data: bytes, id: str) -> Position:
        """A record that somebody else wrote."""
        records = self._records
        records.last += 1
        position = Position(records.epoch, records.last)
        records.held[position.offset] = Record(position, id, data)
        records.offsets[id] = position.offset
        records.wake()
        return position

    def records(self) -> list[Record]:
        """Everything held."""
        return list(self._records.held.values())

    def lose_tail(self, count: int) -> None:
        """What a failover does: the newest records are gone, and their offsets will be used again."""
        records = self._records
        for _ in range(count):
            gone = records.held.pop(records.last)
            records.offsets.pop(gone.id, None)
            records.last -= 1

    def trim(self, keep: int) -> None:
        """Drop all but the newest `keep` records."""
        self._records.trim(max(keep, 1))

    def delete(self) -> None:
        """Delete and recreate the log, as a new server under the same address would."""
        self._records.begin(above=self._records.epoch)
        self._records.wake()
