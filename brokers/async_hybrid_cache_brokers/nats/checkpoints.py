"""Checkpoints on NATS: one KV entry each, replaced by compare-and-set on its revision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from nats.errors import MaxPayloadError

from async_hybrid_cache.checkpoint import Kept
from async_hybrid_cache.errors import CheckpointConflict, CheckpointError
from async_hybrid_cache.validation import positive_int

from .address import Access, Address
from .bucket import Bucket
from .names import token

__all__ = ["NatsKVCheckpointStore"]

_NEEDED = frozenset({"storage", "discard", "max_age"})
# in front of every document, so that an empty one is not taken for what deletes it
_DOCUMENT = b"D"


class NatsKVCheckpointStore:
    """A `CheckpointStore` in the JetStream KV bucket `bucket` of a NATS system.

    `servers` and the keywords of `Access` are those of `NatsInvalidationBus`. `open` creates the bucket where there
    is none, on files and with `replicas` (1); nothing in it expires. A version is a revision of the bucket. An
    acknowledged save survives a crash of the server, and that of its host where the server's `sync_interval` is
    `always` or there are replicas.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        bucket: str = "ahc-checkpoints",
        replicas: int = 1,
        **access: Unpack[Access],
    ) -> None:
        settings = {
            "storage": "file",
            "discard": "new",
            "max_age": 0,
            "num_replicas": positive_int("replicas", replicas),
        }
        self._bucket = Bucket(
            Address(servers, **access), bucket, settings=settings, needed=_NEEDED, failure=CheckpointError
        )

    def __repr__(self) -> str:
        return f"NatsKVCheckpointStore({self._bucket.name!r})"

    async def open(self) -> None:
        """Connect in the running loop, and create the bucket where there is none."""
        await self._bucket.open()

    async def close(self) -> None:
        """Cut the connection, without waiting for the server; calls under way fail."""
        await self._bucket.close()

    async def load(self, name: str) -> Kept | None:
        """The document as the bucket's leader has it; None also where it was deleted by hand."""
        stored = await self._bucket.last(self._subject(name))
        if stored is None or not stored.data:
            return None
        if stored.data[:1] != _DOCUMENT:
            raise CheckpointError(f"{self!r}: somebody else wrote the entry of {name!r}; delete it")
        return Kept(stored.data[1:], stored.revision)

    async def save(self, name: str, data: bytes, version: int) -> int:
        """Replace the document of this version."""
        subject, document = self._subject(name), _DOCUMENT + data
        try:
            revision = await self._bucket.put(subject, document, expected=version)
            if revision is None and version == 0:
                found = await self._bucket.last(subject)
                if found is not None and not found.data:  # deleted by hand, which leaves a revision behind
                    revision = await self._bucket.put(subject, document, expected=found.revision)
        except MaxPayloadError as error:
            raise CheckpointError(f"{self!r}: {len(data)} bytes are more than the server's max_payload") from error
        if revision is None:
            raise CheckpointConflict(f"{self!r}: {name!r} is no longer of version {version}")
        return revision

    def _subject(self, name: str) -> str:
        return f"{self._bucket.prefix}{token(name)}"
