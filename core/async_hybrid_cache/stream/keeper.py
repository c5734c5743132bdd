"""The stream's own checkpoint: kept in a slot of this process, and never in the stream's way."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from ..checkpoint import Checkpoint, CheckpointStore
from ..clock import Clock
from ..errors import CheckpointConflict, CheckpointError
from ..ownership import Slot, StoreUse, claim_slot, slot_name
from ..ownership.lease import BEATS_PER_LEASE

if TYPE_CHECKING:
    from ..bus import StreamOptions

__all__ = ["Keeper", "decode_checkpoint", "encode_checkpoint"]

logger = logging.getLogger("async_hybrid_cache")

encode_checkpoint = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode


def decode_checkpoint(body: bytes) -> Checkpoint | None:
    """The checkpoint; None where it cannot be read."""
    try:
        return _decode(body)
    except msgspec.DecodeError:
        logger.warning("a checkpoint cannot be read and counts as none")
        return None


class Keeper:
    """Claims a slot of `instance_id`, writes the position there as it moves, and beats so that the slot stays its own.

    Where the store is away at the start, a slot is claimed later, and the stream begins without a checkpoint.
    """

    def __init__(self, store: CheckpointStore, options: StreamOptions, clock: Clock, owner: str) -> None:
        self._use = StoreUse(store, options.call_timeout_seconds)
        self._options = options
        self._clock = clock
        self._owner = owner
        self._slot: Slot | None = None
        self.saved: Checkpoint | None = None

    async def open(self, instance: str) -> Checkpoint | None:
        """Claim a slot, and return what is kept there; gives up soon after a lease could have run out."""
        try:
            async with asyncio.timeout(self._options.lease_seconds + self._options.call_timeout_seconds):
                body = await self._claim(instance)
        except TimeoutError:
            logger.warning("no checkpoint slot could be claimed for %s yet", instance)
            return None
        except CheckpointError as error:
            logger.warning("no checkpoint can be kept for %s: %s", instance, error)
            return None
        return None if body is None else decode_checkpoint(body)

    @property
    def interval(self) -> float:
        """Seconds from one `keep` to the next."""
        return min(self._options.checkpoint_seconds, self._options.lease_seconds / BEATS_PER_LEASE)

    async def keep(self, instance: str, checkpoint: Checkpoint | None) -> None:
        """Write `checkpoint` where it has moved, and beat where that is due."""
        if self._slot is None:
            await self._claim(instance)
        assert self._slot is not None
        try:
            if checkpoint is not None and checkpoint != self.saved:
                await self._slot.position.save(encode_checkpoint(checkpoint))
                self.saved = checkpoint
            if self._slot.lease.beat_due:
                await self._slot.lease.beat()
        except CheckpointConflict:
            self._slot = self.saved = None  # somebody took this process for dead; the next time claims another one
            raise

    async def close(self, checkpoint: Checkpoint | None) -> None:
        """Write the last word and give the slot back."""
        slot, self._slot = self._slot, None
        try:
            if slot is not None and checkpoint is not None and checkpoint != self.saved:
                await slot.position.save(encode_checkpoint(checkpoint))
        except CheckpointError as error:
            logger.warning("the last position could not be kept: %s", error)
        finally:
            if slot is not None:
                await slot.lease.release()
            await self._use.close()

    async def _claim(self, instance: str) -> bytes | None:
        seconds = self._options.lease_seconds
        name = slot_name("stream", instance)
        writer = f"{self._owner}-{os.getpid()}"  # another one after a fork
        self._slot = await claim_slot(self._use, name, owner=writer, seconds=seconds, clock=self._clock)
        return await self._slot.take_position()
