"""Where an instance stands in the log, kept over restarts."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

__all__ = ["Checkpoint", "CheckpointStore"]


class Checkpoint(msgspec.Struct, frozen=True):
    """A position, the id of the record there (so that the log can be recognised), and what was applied by then.

    `marks` holds the newest sequence applied of each origin; position and marks are written together, which is
    what makes consuming idempotent over a restart.
    """

    epoch: int
    offset: int
    record_id: str
    marks: dict[str, int]


@runtime_checkable
class CheckpointStore(Protocol):
    """Keeps one checkpoint per process, atomically."""

    async def open(self, instance_id: str) -> Checkpoint | None:
        """Claim a slot of `instance_id` for this process alone, and return the checkpoint kept there.

        Several processes with one `instance_id` get a slot each. `None` where the slot is new or unreadable.
        """
        ...

    async def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint, so that a crash at any moment leaves the old one or the new one."""
        ...

    async def close(self) -> None:
        """Give the slot back. Never raises."""
        ...
