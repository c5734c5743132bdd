"""The L2 on NATS: a JetStream KV bucket, with leases by revision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Unpack

from nats.errors import MaxPayloadError

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import DistributedCacheError
from async_hybrid_cache.positions import Position
from async_hybrid_cache.validation import checked_part, positive_int
from async_hybrid_cache_codecs import Serializer

from .address import Access, Address
from .bucket import Bucket
from .names import token as subject_token
from .records import Entry, Lease, decoded, encoded_entry, encoded_lease, lease_of, millis, token_of
from .watches import watch

__all__ = ["NatsKVDistributedCache"]

_ATTEMPTS = 3
_AT_ONCE = 200
_MARKER_SECONDS = 1
_NEEDED = frozenset({"discard", "allow_msg_ttl", "deny_purge"})


class NatsKVDistributedCache:
    """A `DistributedCache` in the JetStream KV bucket `bucket` of a NATS system (nats-server 2.12 or newer).

    `servers` and the keywords of `Access` are those of `NatsInvalidationBus`. `open` creates the bucket where there
    is none, with `replicas` (1) and at most `max_bytes` (256 MiB), beyond which what is oldest leaves; one that
    exists is used as it is, if its settings will do. `serializer` is `MsgpackSerializer()` by default. A value that
    is larger than the server's `max_payload` (1 MiB by default) is not kept.

    The lease of a key is a record under that key, and its token is that record's revision: a fill is a
    compare-and-set, which the server refuses once anything else was written there. A hit is one round trip; a
    miss is two, a read and the record of its lease.

    Time is the server's: it counts from when the server stored a record, and the server removes what has expired
    within a second. What is to be more exact is reckoned by its clock, which `open` asks for, and then a call
    every half minute; wall clocks of clients are never compared.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        bucket: str = "ahc",
        replicas: int = 1,
        max_bytes: int = 256 * 1024 * 1024,
        serializer: Serializer | None = None,
        **access: Unpack[Access],
    ) -> None:
        checked_part("serializer", serializer, Serializer)
        if serializer is None:
            from async_hybrid_cache_codecs.msgpack import MsgpackSerializer

            serializer = MsgpackSerializer()
        self._serializer = serializer
        settings = {
            "storage": "file",
            "discard": "old",
            "allow_msg_ttl": True,
            "deny_purge": False,
            "max_bytes": positive_int("max_bytes", max_bytes),
            # a larger one would push everything out, and then itself
            "max_msg_size": min(max_bytes, 2**31 - 1),
            "num_replicas": positive_int("replicas", replicas),
        }
        self._bucket = Bucket(
            Address(servers, **access), bucket, settings=settings, needed=_NEEDED, failure=DistributedCacheError
        )

    def __repr__(self) -> str:
        return f"NatsKVDistributedCache({self._bucket.name!r})"

    @property
    def serializer(self) -> Serializer:
        """Turns values into bytes."""
        return self._serializer

    async def open(self) -> None:
        """Connect in the running loop, and create the bucket where there is none."""
        await self._bucket.open()

    async def close(self) -> None:
        """Cut the connection, without waiting for the server; calls under way fail."""
        await self._bucket.close()

    async def get(self, scope: str, key: str, *, oldest: Position, lease_seconds: float) -> Hit | Miss:
        """The entry, or a lease to fill it; a miss that takes one is a second round trip."""
        subject = self._subject(scope, key)
        for _ in range(_ATTEMPTS):
            stored = await self._bucket.last(subject)
            revision = 0
            stale = False
            if stored is not None:
                revision, record = stored.revision, decoded(stored.data)
                remaining = record.seconds - max(0.0, self._bucket.now() - stored.time) if record is not None else 0.0
                if remaining > 0:
                    if isinstance(record, Lease):
                        return Miss(None, remaining)
                    if isinstance(record, Entry) and record.stamp >= oldest:
                        return Hit(record.data, record.stamp, remaining)
                    stale = True
            if lease_seconds <= 0:
                if stale:
                    await self._mark_deleted(subject, revision)
                return Miss(None)
            token = await self._take_lease(subject, lease_seconds, revision)
            if token is not None:
                return Miss(token)
        return Miss(None)

    async def lease(self, scope: str, key: str, *, lease_seconds: float) -> str:
        """Replace the entry, or any lease on it, by a new lease."""
        token = await self._take_lease(self._subject(scope, key), lease_seconds, None)
        if token is None:
            raise DistributedCacheError(f"{self!r}: the server refused what it was not asked to check")
        return token

    async def fill(self, scope: str, key: str, data: bytes, *, stamp: Position, ttl: float, token: str) -> bool:
        """Replace the lease `token` by an entry; False where it is gone, or the server takes nothing so large."""
        lease = lease_of(token)
        if lease is None:
            return False
        revision, deadline = lease
        if self._bucket.now() * 1000 >= deadline:
            return False
        subject, ms = self._subject(scope, key), millis(ttl)
        record = encoded_entry(data, stamp, ms)
        try:
            return await self._bucket.put(subject, record, expected=revision, seconds=_whole(ms)) is not None
        except MaxPayloadError:
            await self._mark_deleted(subject, revision)
            return False

    async def release(self, scope: str, key: str, *, token: str) -> None:
        """Remove the lease `token`, where it is still there."""
        if lease := lease_of(token):
            await self._mark_deleted(self._subject(scope, key), lease[0])

    async def delete(self, scope: str, keys: Sequence[str]) -> None:
        """Write over entries and leases what says that there is none, and is gone a second later."""
        subjects = [self._subject(scope, key) for key in keys]
        # a server refuses more writes than its queue holds
        for start in range(0, len(subjects), _AT_ONCE):
            marking = (self._mark_deleted(subject) for subject in subjects[start : start + _AT_ONCE])
            for answer in await asyncio.gather(*marking, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer

    async def clear(self, scope: str | None) -> None:
        """Purge the scope, or everything: three round trips.

        A fill that the server has checked already may be stored behind a purge. Such a fill is stored before any
        write that is sent after the purge, so that a second purge, behind such a write, finds it.
        """
        entries = None if scope is None else f"{self._bucket.prefix}{subject_token(scope)}.*"
        await self._bucket.purge(entries)
        await self._mark_deleted(self._cleared)
        await self._bucket.purge(entries)

    def watch(self, scope: str, key: str) -> AbstractAsyncContextManager[asyncio.Event]:
        """What is set once the key is written, or something cleared; by a consumer that ends with the context."""
        return watch(self._bucket, self._subject(scope, key), self._cleared)

    async def _take_lease(self, subject: str, seconds: float, revision: int | None) -> str | None:
        ms = millis(seconds)
        deadline = int(self._bucket.now() * 1000) + ms
        taken = await self._bucket.put(subject, encoded_lease(ms), expected=revision, seconds=_whole(ms))
        return None if taken is None else token_of(taken, deadline)

    async def _mark_deleted(self, subject: str, revision: int | None = None) -> None:
        await self._bucket.put(subject, b"", expected=revision, seconds=_MARKER_SECONDS)

    @property
    def _cleared(self) -> str:
        return f"{self._bucket.prefix}cleared"

    def _subject(self, scope: str, key: str) -> str:
        return f"{self._bucket.prefix}{subject_token(scope)}.{subject_token(key)}"


def _whole(ms: int) -> int:
    """Seconds for the server, which counts in whole ones: never fewer."""
    return -(-ms // 1000)
