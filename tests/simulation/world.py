"""The outside of the instances: a log, an L2 and a database, and the links to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from async_hybrid_cache import (
    Bounds,
    DistributedCacheError,
    Hit,
    LogUnavailable,
    Miss,
    MsgpackSerializer,
    Position,
    PositionLost,
    Record,
    Serializer,
)

__all__ = ["Database", "Link", "SharedLog", "SharedStore", "SimulatedCache", "SimulatedLog"]


class Link:
    """What lies between one instance and one server: delays, cuts, stalls, lost answers."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.slow = 0.0
        self.cut = False
        self.lossy = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def stalled(self) -> bool:
        return not self._flowing.is_set()

    def stall(self) -> None:
        self._flowing.clear()

    def heal(self) -> None:
        self.cut, self.lossy, self.slow = False, 0.0, 0.0
        self._flowing.set()

    @property
    def healthy(self) -> bool:
        return not self.cut and not self.stalled and not self.lossy and not self.slow

    async def pass_on(self) -> bool:
        """One way through; False where the link is cut."""
        await asyncio.sleep(self._rng.uniform(0, 0.002) + (self._rng.uniform(0, self.slow) if self.slow else 0))
        await self._flowing.wait()
        return not self.cut

    def loses_answer(self) -> bool:
        return self._rng.random() < self.lossy


class Database:
    """Versions by key. A row's value is its version."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.versions: dict[str, int] = {}
        self.failing = 0.0
        self.slow = 0.02

    def write(self, key: str) -> int:
        self.versions[key] = self.versions.get(key, 0) + 1
        return self.versions[key]

    async def read(self, key: str) -> int:
        await asyncio.sleep(self._rng.uniform(0, self.slow))
        if self._rng.random() < self.failing:
            raise ConnectionError("the database is away")
        version = self.versions.get(key, 0)
        await asyncio.sleep(self._rng.uniform(0, self.slow))
        return version


class SharedLog:
    """The log itself, as its server holds it."""

    def __init__(self, now: Callable[[], float], on_append: Callable[[str], None]) -> None:
        self._now = now
        self._on_append = on_append
        self.epoch = 0
        self.first = 1
        self.records: list[tuple[str, bytes]] = []
        self.times: list[float] = []
        self.exists = False
        self.appended = asyncio.Event()
        self._largest = 0

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1

    def create(self, above: int = 0) -> None:
        self.epoch = self._largest = max(self._largest + 1, above + 1)
        self.first, self.records, self.times, self.exists = 1, [], [], True

    def push(self, id: str, data: bytes) -> Position:
        self.records.append((id, data))
        self.times.append(self._now())
        self._on_append(id)
        self.appended.set()
        self.appended = asyncio.Event()
        return Position(self.epoch, self.last)

    def trim(self, keep: int) -> None:
        gone = max(0, len(self.records) - keep)
        self.first += gone
        del self.records[:gone], self.times[:gone]

    def lose_tail(self, count: int) -> None:
        kept = max(0, len(self.records) - count)
        del self.records[kept:], self.times[kept:]

    def delete(self) -> None:
        self.exists, self.records, self.times = False, [], []


class SimulatedLog:
    """One instance's `EventLog` on the shared log."""

    def __init__(self, log: SharedLog, link: Link, remembers: bool) -> None:
        self._log = log
        self._link = link
        self._remembers = remembers

    async def _there(self) -> None:
        if not await self._link.pass_on():
            raise LogUnavailable("cut")

    async def _back(self) -> None:
        if not await self._link.pass_on() or self._link.loses_answer():
            raise LogUnavailable("the answer was lost")

    async def open(self) -> None:
        await self._there()
        if not self._log.exists:
            self._log.create()
        await self._back()

    async def close(self) -> None:
        return None

    async def append(self, record: bytes, id: str) -> Position:
        await self._there()
        if not self._log.exists:
            raise PositionLost("the log is gone")
        known = [n for n, (other, _) in enumerate(self._log.records) if other == id] if self._remembers else []
        position = Position(self._log.epoch, self._log.first + known[0]) if known else self._log.push(id, record)
        await self._back()
        return position

    async def bounds(self) -> Bounds:
        await self._there()
        if not self._log.exists:
            raise PositionLost("the log is gone")
        bounds = Bounds(self._log.epoch, self._log.first, self._log.last)
        await self._back()
        return bounds

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        await self._there()
        deadline = asyncio.get_running_loop().time() + wait
        log = self._log
        while True:
            if not log.exists or start.epoch != log.epoch or start.offset < log.first or start.offset > log.last + 1:
                raise PositionLost("not held")
            index = start.offset - log.first
            found = [
                Record(Position(log.epoch, log.first + n), *log.records[n])
                for n in range(index, min(index + limit, len(log.records)))
            ]
            left = deadline - asyncio.get_running_loop().time()
            if found or left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    await log.appended.wait()
            except TimeoutError:
                pass
        await self._back()
        return found

    async def renew(self, above: int) -> None:
        await self._there()
        if not self._log.exists or self._log.epoch <= above:
            self._log.create(above)
        await self._back()


class SharedStore:
    """L2 itself: entries and leases by scope and key."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], tuple[bytes, Position, float]] = {}
        self.leases: dict[tuple[str, str], tuple[str, float]] = {}
        self.refused = 0
        self.accept_any = False
        self._tokens = 0

    def take(self, pair: tuple[str, str], until: float) -> str:
        self._tokens += 1
        self.leases[pair] = f"t{self._tokens}", until
        return f"t{self._tokens}"

    def drop(self, pair: tuple[str, str]) -> None:
        self.entries.pop(pair, None)
        self.leases.pop(pair, None)


class SimulatedCache:
    """One instance's `DistributedCache` on the shared store."""

    def __init__(self, store: SharedStore, link: Link, rng: random.Random) -> None:
        self._store = store
        self._link = link
        self._rng = rng
        self.serializer: Serializer = MsgpackSerializer()
        self.deletes_fail = 0.0

    async def open(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def _there(self) -> None:
        if not await self._link.pass_on():
            raise DistributedCacheError("cut")

    async def _back(self) -> None:
        if not await self._link.pass_on() or self._link.loses_answer():
            raise DistributedCacheError("the answer was lost")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        await self._there()
        pair, now = (scope, key), self._now()
        entry = self._store.entries.get(pair)
        answer: Hit | Miss
        if entry is not None and entry[2] > now and entry[1] >= oldest:
            answer = Hit(entry[0], entry[1], entry[2] - now)
        else:
            if entry is not None:
                self._store.drop(pair)
            lease = self._store.leases.get(pair)
            taken = lease is not None and lease[1] > now
            free = lease_seconds > 0 and not taken
            answer = Miss(self._store.take(pair, now + lease_seconds) if free else None)
        await self._back()
        return answer

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        await self._there()
        self._maybe_fail()
        self._store.drop((scope, key))
        token = self._store.take((scope, key), self._now() + lease_seconds)
        await self._back()
        return token

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        await self._there()
        pair, now = (scope, key), self._now()
        lease = self._store.leases.get(pair)
        good = self._store.accept_any or (lease is not None and lease == (token, lease[1]) and lease[1] > now)
        if good:
            self._store.drop(pair)
            self._store.entries[pair] = data, stamp, now + ttl
        else:
            self._store.refused += 1
        await self._back()
        return good

    async def release(self, scope: str, key: str, *, token: str) -> None:
        await self._there()
        lease = self._store.leases.get((scope, key))
        if lease is not None and lease[0] == token:
            del self._store.leases[scope, key]
        await self._back()

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        await self._there()
        self._maybe_fail()
        for key in keys:
            self._store.drop((scope, key))
        await self._back()

    async def clear(self, scope: str | None) -> None:
        await self._there()
        self._maybe_fail()
        for pair in [*self._store.entries, *self._store.leases]:
            if scope is None or pair[0] == scope:
                self._store.drop(pair)
        await self._back()

    def _maybe_fail(self) -> None:
        if self._rng.random() < self.deletes_fail:
            raise DistributedCacheError("the delete failed")
