"""Writing to the partition, once each: an idempotent producer with one batch in flight."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import errors  # type: ignore[import-untyped]
from aiokafka.protocol.produce import ProduceRequest  # type: ignore[import-untyped]
from aiokafka.protocol.transaction import InitProducerIdRequest  # type: ignore[import-untyped]

from .epochs import Claim
from .failures import check
from .link import CALL_SECONDS, Link
from .records import batch

__all__ = ["Producer"]

_ALL_REPLICAS = -1
_SEQUENCES = 2**31
_PAUSE_SECONDS = 0.02
_NO_TRANSACTIONS: Any = None
_NEW_IDENTITY = InitProducerIdRequest(_NO_TRANSACTIONS, 0)

# the broker has forgotten this producer, or knows another past of it
_FORGOTTEN = (
    errors.OutOfOrderSequenceNumber,
    errors.DuplicateSequenceNumber,
    errors.InvalidProducerEpoch,
    errors.InvalidProducerIdMapping,
    errors.UnknownProducerId,
)


class Producer:
    """A producer id and its sequence, which outlive connections.

    A record whose fate is unknown keeps its sequence. Sent again under it, the broker writes it once, however
    late the first attempt arrives, and answers with its one offset. Another record in its place gets a new
    producer, since the sequence may be taken. Until `settle`, a record that is sent again after its
    acknowledgement is not written again.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._identity: tuple[int, int] | None = None
        self._sequence = 0
        self._doubt: str | None = None
        self._after = -1
        self._landed: tuple[str, int] | None = None

    async def send(self, link: Link, id: str, data: bytes, claim: Claim, marker: int | None = None) -> tuple[int, int]:
        """Write one record; its offset, and what was verified before the first attempt at it.

        One call at a time. Errors are the driver's.
        """
        if self._landed is None or self._landed[0] != id:
            try:
                offset = await self._attempt(link, id, data, claim, marker)
            except _FORGOTTEN:
                self.forget()
                offset = await self._attempt(link, id, data, claim, marker)
            self._landed = id, offset
        return self._landed[1], self._after

    def settle(self) -> None:
        """What was sent last is of no further interest."""
        self._landed = None

    def forget(self) -> None:
        """Go on as a new producer: the log is not the one that knows this one's sequence."""
        self._identity = self._doubt = self._landed = None

    async def _attempt(self, link: Link, id: str, data: bytes, claim: Claim, marker: int | None) -> int:
        if self._doubt != id:
            if self._doubt is not None:
                self.forget()
            self._after = claim.verified
        if self._identity is None:
            self._identity, self._sequence = await _identity(link), 0
        self._doubt = id
        producer_id, producer_epoch = self._identity
        one = batch(
            id,
            data,
            claim,
            marker,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            sequence=self._sequence,
        )
        request = ProduceRequest(None, _ALL_REPLICAS, round(CALL_SECONDS * 1000), [(self._topic, [(0, one)])])
        # an error proves nothing: a leader that was deposed gives one for what it wrote, and its replicas have
        offset = _offset(await link.call(request))
        self._doubt = None
        self._sequence = (self._sequence + 1) % _SEQUENCES
        return offset


async def _identity(link: Link) -> tuple[int, int]:
    async with asyncio.timeout(CALL_SECONDS):
        while True:
            reply = await link.call(_NEW_IDENTITY)
            try:
                check(reply.error_code)
            except errors.GroupLoadInProgressError:  # a broker that has just started has to ask for ids itself
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return reply.producer_id, reply.producer_epoch


def _offset(reply: Any) -> int:
    ((_, ((_, code, offset, *_),)),) = reply.topics
    check(code)
    return int(offset)
