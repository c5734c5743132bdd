"""An L2 in memory, with leases, that can be told to fail, to freeze, or to let a test in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from async_hybrid_cache import DistributedCacheError, PickleSerializer, Serializer
from async_hybrid_cache.clock import Clock, SystemClock
from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.positions import Position

__all__ = ["SharedMemory", "Store", "WatchedMemory"]


class _Entry(NamedTuple):
    data: bytes
    stamp: Position
    until: float


class Store:
    """The server: what several `SharedMemory` share."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.entries: dict[tuple[str, str], _Entry] = {}
        self.leases: dict[tuple[str, str], tuple[str, float]] = {}
        self.watched: dict[tuple[str, str], set[asyncio.Event]] = {}
        self.drawn = 0

    def held(self, name: tuple[str, str]) -> float:
        """For how many seconds the key is leased."""
        return max(0.0, self.leases.get(name, ("", 0.0))[1] - self.clock.monotonic())

    def changed(self, name: tuple[str, str]) -> None:
        """Wake who watches."""
        for event in self.watched.get(name, ()):
            event.set()


class SharedMemory:
    """A `DistributedCache`. `failing` and `frozen` name the calls that do so ("*" for all)."""

    def __init__(self, store: Store | None = None, *, serializer: Serializer | None = None) -> None:
        self.store = store or Store()
        self._serializer = serializer or PickleSerializer(key=b"k" * 32)
        self.failing: set[str] = set()
        self.frozen: set[str] = set()
        self.before: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.calls: list[str] = []

    @property
    def serializer(self) -> Serializer:
        return self._serializer

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        await asyncio.sleep(0)
        if hook := self.before.pop(name, None):
            await hook()
        if self.frozen & {name, "*"}:
            await asyncio.Event().wait()
        if self.failing & {name, "*"}:
            raise DistributedCacheError(f"{name} failed")

    async def open(self) -> None:
        await self._called("open")

    async def close(self) -> None:
        await self._called("close")

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        await self._called("get")
        name, now = (scope, key), self.store.clock.monotonic()
        entry = self.store.entries.get(name)
        if entry is not None and entry.until > now and entry.stamp >= oldest:
            return Hit(entry.data, entry.stamp, entry.until - now)
        self.store.entries.pop(name, None)
        held = self.store.held(name)
        if not lease_seconds or held:
            return Miss(None, held)
        return Miss(self._draw(name, lease_seconds))

    def _draw(self, name: tuple[str, str], seconds: float) -> str:
        self.store.drawn += 1
        token = str(self.store.drawn)
        self.store.leases[name] = token, self.store.clock.monotonic() + seconds
        return token

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        await self._called("lease")
        self.store.entries.pop((scope, key), None)
        token = self._draw((scope, key), lease_seconds)
        self.store.changed((scope, key))
        return token

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        await self._called("fill")
        if self.store.leases.get((scope, key), ("",))[0] != token or not self.store.held((scope, key)):
            return False
        del self.store.leases[scope, key]
        self.store.changed((scope, key))
        self.store.entries[scope, key] = _Entry(data, stamp, self.store.clock.monotonic() + ttl)
        return True

    async def release(self, scope: str, key: str, *, token: str) -> None:
        await self._called("release")
        if self.store.leases.get((scope, key), ("",))[0] == token:
            del self.store.leases[scope, key]
            self.store.changed((scope, key))

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        await self._called("delete")
        for key in keys:
            self.store.entries.pop((scope, key), None)
            self.store.leases.pop((scope, key), None)
            self.store.changed((scope, key))

    async def clear(self, scope: str | None) -> None:
        await self._called("clear")
        for held in (self.store.entries, self.store.leases):
            for name in [name for name in held if scope is None or name[0] == scope]:
                del held[name]  # type: ignore[attr-defined]
                self.store.changed(name)


class WatchedMemory(SharedMemory):
    """One that can be watched as well."""

    @asynccontextmanager
    async def watch(self, scope: str, key: str) -> AsyncIterator[asyncio.Event]:
        await self._called("watch")
        event = asyncio.Event()
        events = self.store.watched.setdefault((scope, key), set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
