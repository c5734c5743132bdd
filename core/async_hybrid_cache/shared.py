"""L2 as the cache uses it: values instead of bytes, bounded in time, never raising into a read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from async_hybrid_cache_codecs import DecodeError, EncodeError, Serializer, TypedSerializer
from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared

from .breaker import Breaker
from .cancellation import was_cancelled
from .clock import Clock
from .deletes import Deletes
from .distributed import DistributedCache, Hit, Miss
from .errors import DistributedCacheError
from .joint import L2Change, Leased
from .journal import Journal
from .late import LateDeletes, Removal
from .offers import offers
from .plain import AdaptedCache
from .positions import ORIGIN, Position
from .stream.unsaid import Unsaid

__all__ = ["Found", "SharedTier", "typed"]

T = TypeVar("T")
logger = logging.getLogger("async_hybrid_cache")

_ENVELOPE_VERSION = 1
_PROBE = ("", "probe")
_MOST_NOTES = 20_000
_MOST_PLAIN_KEYS = 100


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What surrounds a value in L2. Fields are only ever appended."""

    version: int
    tags: tuple[str, ...]
    payload: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Envelope).decode


class Found(NamedTuple):
    """A value found in L2."""

    value: Any
    stamp: Position
    remaining: float
    tags: tuple[str, ...]


class SharedTier:
    """A `DistributedCache` behind a timeout and a circuit breaker.

    Every failure is counted and answered like a miss without a lease: the loader is asked, and L2 is not filled.
    So is what `unsaid` tells of: a removal of it waits for the log, and what L2 holds cannot be compared with that.
    What `heard` does not find applied here up to its stamp is not kept: a change may be announced before that.
    """

    def __init__(
        self,
        cache: DistributedCache,
        clock: Clock,
        timeout: float,
        lease_seconds: float,
        journal: Journal | None = None,
        unsaid: Unsaid | None = None,
        heard: Callable[[Position], Awaitable[bool]] | None = None,
    ) -> None:
        self.cache = cache
        self.breaker = Breaker("the distributed cache", clock)
        self.late = LateDeletes()
        self._doing = LateDeletes()
        self._journal = journal
        self._unsaid = unsaid or Unsaid()
        self._heard = heard
        self._notes: list[int] = []
        self._deletes = Deletes(self._delete)
        self.timeout = timeout
        self.lease_seconds = lease_seconds
        self.connected = False
        """Whether `open` was called: from then on deletes are tried."""
        self.enabled = False
        """Whether entries may be read and filled: only while the log is followed can their stamps be judged."""
        self.hits = 0
        self.misses = 0
        self.waits = self.waits_failed = 0
        self.stale = 0
        self.fills = 0
        self.refused = 0
        self.errors = 0
        self.undecodable = 0
        self.unencodable = 0
        self._reported: set[str] = set()
        self._plain = cache if isinstance(cache, AdaptedCache) else None
        if self._plain:
            self._plain.on_overtaken = self.later

    @property
    def late_deletes(self) -> int:
        """How many deletes are still to be done."""
        return len(self.late) + len(self._doing)

    @property
    def overtaken(self) -> int:
        """How many values were found that a change had overtaken, where L2 has no leases of its own."""
        return self._plain.overtaken if self._plain else 0

    @property
    def usable(self) -> bool:
        """Whether a read or a fill is worth trying now."""
        return self.enabled and not self.breaker.is_open

    def lease_seconds_for(self, hard_timeout: float | None) -> float:
        """For how long a load needs its lease: no longer than it may run, which is twice its timeout."""
        return self.lease_seconds if hard_timeout is None else min(self.lease_seconds, 2 * hard_timeout + self.timeout)

    async def open(self) -> None:
        """Make ready for the running loop; a server that is away opens the breaker instead of raising."""
        self.connected = True
        self._note_anew()  # a journal that was ended holds them for another process
        try:
            await self._call(self.cache.open())
        except DistributedCacheError as error:
            self.breaker.trip(error)

    async def close(self) -> None:
        """Let go of the server, in bounded time."""
        self.connected = self.enabled = False
        try:
            async with asyncio.timeout(self.timeout * 2):
                await self.cache.close()
        except Exception as error:
            logger.warning("the distributed cache did not close in good order: %s", error)

    async def get(
        self, scope: str, key: str, serializer: Serializer, oldest: Position, *, lease_seconds: float
    ) -> Found | Miss:
        """The value, or a miss, with a lease to fill it where one was to be had."""
        if not self.usable or self._suspect(scope, key) or self._unsaid.covers(scope, key):
            return Miss(None)
        try:
            found = await self._call(self.cache.get(scope, key, oldest=oldest, lease_seconds=lease_seconds))
        except DistributedCacheError:
            return Miss(None)
        if isinstance(found, Miss):
            self.misses += 1
            return found
        return self._opened(scope, found, serializer)

    async def lease(self, scope: str, key: str) -> str | None:
        """Delete the entry and take a lease on it; None (and perhaps a delete still to be done) where there is none."""
        return await self.change(Leased(scope, (key,), "", self.lease_seconds))

    async def change(self, change: L2Change) -> str | None:
        """Do it, or later where that fails or is cancelled; the token of a lease that was taken."""
        if not isinstance(change, Leased):
            await self.drop(change)
        elif not self.enabled:
            await self.drop(change.removed)
        else:
            return await self._or_later(change.removed, self._lease(change))
        return None

    async def drop(self, event: Removal) -> None:
        """Delete what `event` names; where that fails, or is cancelled, it is kept to be done later."""
        if isinstance(event, KeysRemoved):
            await self._or_later(event, self._deletes.add(event.scope, event.keys))
        else:
            await self._or_later(event, self._clear(event))

    async def _or_later(self, event: Removal, call: Coroutine[Any, Any, T]) -> T | None:
        if not self.connected or self.breaker.is_open:
            call.close()
            self.later(event)
            return None
        try:
            return await call
        except DistributedCacheError:
            self.later(event)
            return None
        except asyncio.CancelledError:
            self.later(event)
            raise

    def later(self, change: L2Change) -> None:
        """Delete what `change` names as soon as may be, and ask L2 for nothing of it until then."""
        event = change.removed if isinstance(change, Leased) else change
        known = self.late.holds(event)
        self.late.add(event)
        if self._journal and not known:
            self._notes.append(self._journal.note(event))
            if len(self._notes) > _MOST_NOTES:
                self._note_anew()

    def _note_anew(self) -> None:
        if self._journal:
            self._journal.close(self._notes)
            self._notes = [self._journal.note(event) for event in self.late.events()]

    async def fill(
        self,
        scope: str,
        key: str,
        value: Any,
        serializer: Serializer,
        *,
        stamp: Position,
        ttl: float,
        token: str,
        may: Callable[[], bool],
    ) -> None:
        """Store `value` under a lease, if it still `may` be kept; refused where that was voided, skipped with L2 away.

        An own acknowledgement moves stamps past changes that others announced and this instance has yet to read.
        """
        data = self.sealed(scope, value, serializer) if may() else None
        heard = data is not None and (self._heard is None or await self._heard(stamp))
        if data is None or not heard or not may() or self._suspect(scope, key):
            await self.release(scope, key, token)
            return
        if not self.usable:
            return
        try:
            filled = await self._call(self.cache.fill(scope, key, data, stamp=stamp, ttl=ttl, token=token))
        except DistributedCacheError:
            return
        if filled:
            self.fills += 1
        else:
            self.refused += 1

    async def release(self, scope: str, key: str, token: str) -> None:
        """Give a lease back, so that the next one who misses need not wait for its end."""
        if self.usable:
            with contextlib.suppress(DistributedCacheError):
                await self._call(self.cache.release(scope, key, token=token))

    def sealed(self, scope: str, value: Any, serializer: Serializer) -> bytes | None:
        """The bytes of an entry; None where the codec cannot encode the value, reported once a scope."""
        try:
            return _encode(_Envelope(_ENVELOPE_VERSION, (), serializer.dumps(value)))
        except Exception as error:
            self.unencodable += 1
            if scope not in self._reported:
                self._reported.add(scope)
                hint = "" if isinstance(error, EncodeError) else f" ({type(error).__name__})"
                logger.warning("values of scope %r stay in L1 alone: %s%s", scope, error, hint)
            return None

    async def recover(self) -> bool:
        """See whether a server that failed answers again; True where it does."""
        try:
            await self._call(self.cache.open())
            await self._call(self.cache.get(*_PROBE, oldest=ORIGIN, lease_seconds=0.0))
        except DistributedCacheError:
            return False
        self.breaker.close()
        return True

    async def catch_up(self, announce: Callable[[Removal], object]) -> None:
        """Do the deletes that failed before, and have each announced again, now that it is done."""
        # a delete that fails meanwhile must not be taken for one of these
        self._doing, self.late = self.late, LateDeletes()
        notes, self._notes = self._notes, []
        left = self._doing.events()
        try:
            while left:
                if isinstance(left[0], KeysRemoved):
                    await self._delete(left[0].scope, left[0].keys)
                else:
                    await self._clear(left[0])
                announce(left.pop(0))
        except DistributedCacheError:
            pass
        finally:
            self._doing = LateDeletes()
            for event in left:
                self.later(event)
            if self._journal:
                self._journal.close(notes)

    async def review(self, *, last: bool = False) -> None:
        """Where L2 has no leases of its own: find the fills by this process that an event overtook."""
        if self._plain:
            with contextlib.suppress(DistributedCacheError):
                while not self.breaker.is_open and await self._call(self._plain.review(last=last)):
                    pass

    def _suspect(self, scope: str, key: str) -> bool:
        return self.late.covers(scope, key) or self._doing.covers(scope, key)

    def _opened(self, scope: str, hit: Hit, serializer: Serializer) -> Found | Miss:
        try:
            envelope = _decode(hit.data)
            if envelope.version != _ENVELOPE_VERSION:
                raise DecodeError(f"an entry of version {envelope.version}")
            value = serializer.loads(envelope.payload)
        except Exception as error:
            self.undecodable += 1
            self.misses += 1
            logger.debug("an entry of scope %r does not decode: %s", scope, error)
            return Miss(None)
        self.hits += 1
        return Found(value, hit.stamp, hit.remaining, envelope.tags)

    async def _lease(self, leased: Leased) -> str:
        calls = (self.cache.lease(leased.scope, key, lease_seconds=leased.seconds) for key in leased.keys)
        tokens = await asyncio.gather(*map(self._call, calls))
        return tokens[0]

    async def _delete(self, scope: str, keys: Sequence[str]) -> None:
        if self.breaker.is_open:
            raise DistributedCacheError("the distributed cache is away")
        # a plain cache deletes one by one, and each call has to end in time
        most = _MOST_PLAIN_KEYS if self._plain else max(1, len(keys))
        for begin in range(0, len(keys), most):
            await self._call(self.cache.delete(scope, keys[begin : begin + most]))

    async def _clear(self, event: ScopeCleared | CacheCleared) -> None:
        await self._call(self.cache.clear(event.scope if isinstance(event, ScopeCleared) else None))

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self.timeout):
                return await call
        except TimeoutError as error:
            self.errors += 1
            failure = DistributedCacheError(f"no answer within {self.timeout:g} s")
            self.breaker.trip(failure)
            raise failure from error
        except DistributedCacheError as error:
            self.errors += 1
            self.breaker.trip(error)
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and was_cancelled():
                raise
            self.errors += 1
            failure = DistributedCacheError(f"the distributed cache failed: {error!r}")
            self.breaker.trip(failure)
            raise failure from error


def typed(serializer: Serializer, annotation: Any) -> Serializer:
    """`serializer` bound to `annotation`, where it can be bound."""
    return serializer.typed(annotation) if offers(serializer, TypedSerializer) else serializer
