"""A position in the log and the lease on it; and one such slot for each of many processes with one name."""

from __future__ import annotations

import asyncio

from ..clock import Clock
from ..errors import CheckpointConflict, CheckpointError
from .document import Document
from .lease import Lease, Standing
from .using import StoreUse

__all__ = ["Slot", "claim_slot", "slot_name"]

_MAX_SLOTS = 1024


def slot_name(*parts: str) -> str:
    """The name of a slot; in a part, a slash is escaped."""
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


class Slot:
    """A position document and the lease that says who writes it.

    They are two documents, so that beats and a position written in somebody's transaction do not conflict.
    """

    def __init__(self, use: StoreUse, name: str, *, owner: str, seconds: float, clock: Clock) -> None:
        self.lease = Lease(use, f"{name}/lease", owner=owner, seconds=seconds, clock=clock)
        self.position = Document(use, name, owner)

    async def take_position(self) -> bytes | None:
        """What was kept, written again first: whoever was the writer until now conflicts from here on."""
        while True:
            body = await self.position.load()
            if body is None:
                return None
            try:
                await self.position.save(body)
            except CheckpointConflict:
                continue  # the former owner's last word
            return body


async def claim_slot(use: StoreUse, name: str, *, owner: str, seconds: float, clock: Clock) -> Slot:
    """A slot of `name` for this process alone, the first of: a free one that has a position, a free one, a new one.

    One with a position whose holder may be dead is waited for, as long as its holder is not seen to live and at most
    for `seconds` after its last beat.
    """
    slots: list[Slot] = []
    while True:
        spare: Slot | None = None
        doubtful = False
        for number in range(_MAX_SLOTS):
            if number == len(slots):
                slots.append(Slot(use, f"{name}/{number}", owner=owner, seconds=seconds, clock=clock))
            slot = slots[number]
            standing = await slot.lease.look()
            kept = standing is not Standing.LIVE and await slot.position.load() is not None
            if kept and standing is Standing.DOUBTFUL:
                doubtful = True
            elif kept:
                if await slot.lease.take():
                    return slot
            elif standing not in (Standing.LIVE, Standing.DOUBTFUL) and spare is None:
                spare = slot
            if standing is Standing.NEW:
                break
        else:
            if spare is None and not doubtful:
                raise CheckpointError(f"all {_MAX_SLOTS} slots of {name!r} are taken")
        if spare is not None and not doubtful and await spare.lease.take():
            return spare
        await asyncio.sleep(seconds / 20)
