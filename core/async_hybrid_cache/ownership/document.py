"""A document of which one process is the only writer."""

from __future__ import annotations

import logging
from collections import deque

import msgspec

from ..errors import CheckpointConflict
from .using import StoreUse

__all__ = ["ATTEMPTS", "Document"]

logger = logging.getLogger("async_hybrid_cache")

ATTEMPTS = 16
"""How many attempts of unknown fate are remembered."""


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    writer: str
    number: int
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Sealed).decode


class Document:
    """Replaces what it has seen and nothing else: a conflict means that somebody else has written.

    Writer and number make every attempt unlike any other, so that one whose acknowledgement was lost is recognised
    as an own one.
    """

    def __init__(self, use: StoreUse, name: str, writer: str) -> None:
        self.use = use
        self.name = name
        self.version = 0
        self._writer = writer
        self._number = 0
        self._attempts: deque[bytes] = deque(maxlen=ATTEMPTS)

    async def load(self) -> bytes | None:
        """What is there now; None for nothing, or for something that nobody here wrote."""
        kept = await self.use.load(self.name)
        self._attempts.clear()
        self.version = kept.version if kept else 0
        if kept is None:
            return None
        try:
            return _decode(kept.data).body
        except msgspec.DecodeError:
            logger.warning("the checkpoint %r cannot be read and counts as none", self.name)
            return None

    async def save(self, body: bytes) -> None:
        """Replace what `load` or the last `save` saw; `CheckpointConflict` where that is not there any more."""
        data = self.seal(body)
        try:
            version = await self.use.save(self.name, data, self.version)
        except CheckpointConflict:
            if not await self.landed():
                raise
            self._attempts.append(data)
            version = await self.use.save(self.name, data, self.version)
        self.saved(version)

    def seal(self, body: bytes) -> bytes:
        """The bytes of an attempt to save `body`, by whatever way."""
        self._number += 1
        data = _encode(_Sealed(self._writer, self._number, body))
        self._attempts.append(data)
        return data

    def saved(self, version: int) -> None:
        """An attempt was acknowledged."""
        self.version = version
        self._attempts.clear()

    async def landed(self) -> bool:
        """Whether an own attempt of unknown fate is what the store holds."""
        kept = await self.use.load(self.name)
        if kept is None or kept.data not in self._attempts:
            return False
        self.saved(kept.version)
        return True
