"""A whole `DistributedCache` on top of get, set and delete."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from async_hybrid_cache_codecs import MsgpackSerializer, Serializer
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysChanging, KeysExpired, KeysRemoved, ScopeCleared

from ..clock import Clock
from ..distributed import Hit, Miss
from ..errors import DistributedCacheError
from ..offers import offers
from ..positions import Position
from .entry import Entry, Name, entry_key, generation_key, opened, sealed
from .fills import Fills
from .generations import Generations
from .leases import Leases
from .reports import Reports

if TYPE_CHECKING:
    from .protocol import PlainDistributedCache

__all__ = ["AdaptedCache"]

# a client of redis-py refuses the 101st call at once
_AT_ONCE = 32
_LONGEST_SECONDS = 10 * 366 * 86_400


class AdaptedCache:
    """Adds what a plain cache has not: stamps, clears, and leases, which reach no further than this process.

    So a fill cannot be refused by the cache itself. Instead `heard` is told of every event, and a value that one
    overtook is deleted by whoever finds it: its filler, which looks, or a reader. Then `review` hands it to
    `on_overtaken`, for a delete that is announced: whoever read the value meanwhile must hear that it is gone.
    """

    def __init__(self, plain: PlainDistributedCache, clock: Clock, rng: random.Random) -> None:
        serializer = getattr(plain, "serializer", None)
        self._plain = plain
        self._clock = clock
        self._serializer = serializer if offers(serializer, Serializer) else MsgpackSerializer()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._leases = Leases(clock.monotonic)
        self._fills = Fills()
        self._reports = Reports(clock.monotonic)
        self._generations = Generations(self._get_generation, self._put_generation, clock, rng)
        self.on_overtaken: Callable[[KeysRemoved], object] = lambda event: None
        self.overtaken = 0
        """Values that were found after a change had overtaken them."""

    def __repr__(self) -> str:
        return f"AdaptedCache({type(self._plain).__name__})"

    @property
    def serializer(self) -> Serializer:
        """The plain cache's own, or MessagePack."""
        return self._serializer

    async def open(self) -> None:
        """Nothing to connect; what was known of generations may be from long ago."""
        self._turns = asyncio.Semaphore(_AT_ONCE)  # each belongs to one loop
        self._generations.forget(None)

    async def close(self) -> None:
        """Nothing to let go of: the plain cache belongs to whoever made it."""
        self._leases.void_scope(None)
        self._fills.forget_all()

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        """The entry, or a lease; one `get`, and two more the first time in ten seconds."""
        name = scope, key
        generation = await self._generations.current(scope)
        entry = await self._entry(name)
        if entry is not None and entry.generation == generation:
            remaining = (entry.expires_at - self._now_ms()) / 1000
            if entry.stamp < oldest:
                known = entry.stamp < self._fills.changed_at(name)
                await (self._undo(name) if known else self._delete(name))
            elif remaining > 0:
                return Hit(entry.data, entry.stamp, remaining)
        lease = self._leases.take(name, lease_seconds, generation) if lease_seconds else None
        return Miss(lease.token if lease else None)

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        """Delete, and take a lease in this process."""
        name = scope, key
        position = self._fills.doubt(name)
        if position is not None:
            # a refresh is not announced, as a removal is
            await self._look_at(name, position)
        await self.delete(scope, [key])
        generation = await self._generations.current(scope)
        return self._leases.replace(name, lease_seconds, generation).token

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        """Set, then look whether something came in between; False where it did, and what was set is deleted again."""
        name = scope, key
        lease = self._leases.live(name, token)
        if lease is None or not lease.covers(stamp):
            return False
        seconds = min(ttl, _LONGEST_SECONDS)
        entry = Entry(data, stamp, self._now_ms() + round(seconds * 1000), lease.generation)
        self._fills.begin(name, stamp)
        try:
            await self._call("set", entry_key(name), sealed(entry), ttl_seconds=_whole(seconds))
        except BaseException:
            # it may have been stored, or be stored yet
            if not lease.covers(stamp):
                self._found(name)
                self._leave(name)
            raise
        finally:
            self._leases.end(name, lease)
        if lease.covers(stamp):
            self._fills.stored(name, stamp)
            return True
        await self._undo(name)
        return False

    async def release(self, scope: str, key: str, *, token: str) -> None:
        """Give a lease back."""
        lease = self._leases.live((scope, key), token)
        if lease is not None:
            self._leases.end((scope, key), lease)

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        """Delete one by one, several at a time."""
        names = [(scope, key) for key in keys]
        for name in names:
            self._leases.void(name)
            self._fills.forget(name)
        await _all(self._delete(name) for name in names)

    async def clear(self, scope: str | None) -> None:
        """Begin a new generation, in which entries of older ones count as missing."""
        self._leases.void_scope(scope)
        await self._generations.renew(scope)

    # -- following the log -----------------------------------------------------------------------------------

    def heard(self, event: Event, position: Position) -> None:
        """An event was applied: what was begun before it may not be filled, what was filled before it is in doubt."""
        match event:
            case KeysRemoved() | KeysExpired() | KeysChanging():
                for key in event.keys:
                    name = event.scope, key
                    self._leases.overtake(name, position)
                    self._fills.change(name, position)
                    self._reports.cancel(name, position)
            case ScopeCleared():
                self._cleared(event.scope, position)
            case CacheCleared():
                self._cleared(None, position)
            case _:
                pass

    def _cleared(self, scope: str | None, position: Position) -> None:
        # what was filled is of another generation now
        self._leases.overtake_scope(scope, position)
        self._generations.forget(scope)

    async def review(self, *, last: bool) -> bool:
        """Look at some fills that are in doubt, then report what is due, or everything; False where none was left."""
        doubtful = self._fills.doubtful(_AT_ONCE)
        try:
            await _all(self._look_at(name, position) for name, position in doubtful)
        finally:
            # one that cannot be read holds up no report
            for name in self._reports.take(all_of_them=last):
                self._leave(name)
        return bool(doubtful)

    async def _look_at(self, name: Name, position: Position) -> None:
        generation = await self._generations.current(name[0])
        entry = await self._entry(name)
        self._fills.settle(name, position)
        if entry is not None and entry.generation == generation and entry.stamp < position:
            await self._undo(name)

    async def _undo(self, name: Name) -> None:
        self._found(name)
        try:
            await self._delete(name)
        except BaseException:
            # an announcement by somebody else would not delete it
            self._leave(name)
            raise
        self._reports.add(name, self._fills.changed_at(name))

    def _found(self, name: Name) -> None:
        self.overtaken += 1
        self._fills.forget(name)

    def _leave(self, name: Name) -> None:
        """To be deleted later, and then announced."""
        scope, key = name
        self.on_overtaken(KeysRemoved(scope, (key,)))

    # -- the plain cache -------------------------------------------------------------------------------------

    async def _entry(self, name: Name) -> Entry | None:
        return opened(await self._call("get", entry_key(name)))

    async def _delete(self, name: Name) -> None:
        await self._call("delete", entry_key(name))

    async def _get_generation(self, scope: str | None) -> str | None:
        found = await self._call("get", generation_key(scope))
        if isinstance(found, bytes | bytearray | memoryview):
            return bytes(found).decode("ascii", "replace")
        return found if isinstance(found, str) else None

    async def _put_generation(self, scope: str | None, generation: str, seconds: int) -> None:
        await self._call("set", generation_key(scope), generation, ttl_seconds=seconds)

    async def _call(self, method: str, *arguments: str, **options: int) -> Any:
        try:
            async with self._turns:
                return await getattr(self._plain, method)(*arguments, **options)
        except Exception as error:
            # its text may hold a credential
            raise DistributedCacheError(
                f"{type(self._plain).__name__}.{method} failed with {type(error).__name__}"
            ) from error

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000


async def _all(calls: Iterable[Awaitable[None]]) -> None:
    """All of them at once, each to its end; then the first error."""
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _whole(seconds: float) -> int:
    """At least a second, and not less: many servers take nothing else, and the entry knows when it ends."""
    return max(1, -int(-seconds // 1))
