"""Small documents kept over restarts: where a reader stands in the log, and who may read in whose name."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

__all__ = ["Checkpoint", "CheckpointStore", "Kept", "TransactionalCheckpointStore"]


class Checkpoint(msgspec.Struct, frozen=True):
    """A position, the id of the record there (so that the log can be recognised), and what was applied by then.

    `marks` holds the newest sequence applied of each origin; position and marks are written together, which is
    what makes consuming idempotent over a restart.
    """

    epoch: int
    offset: int
    record_id: str
    marks: dict[str, int]


class Kept(NamedTuple):
    """A document as it was found: opaque bytes, and the version to give to `save` in order to replace it."""

    data: bytes
    version: int


@runtime_checkable
class CheckpointStore(Protocol):
    """Opaque documents by name, each replaced by compare-and-set, so that no two writers overwrite each other.

    A name is any text of 1 to a few hundred characters; a document is a few kilobytes, and may be 256 kB. Constructing
    a store touches neither the network nor an event loop; `open` binds it to the running loop, and after `close` it
    may be opened again, in another loop too. Calls may run at the same time, may be cancelled at any await, and are
    bounded in time by the caller. Errors are `CheckpointConflict`, and `CheckpointError` for everything else, with
    the driver's own as the cause.
    """

    async def open(self) -> None:
        """Make ready for use in the running loop. Callable again on an open store, to replace a broken connection."""
        ...

    async def close(self) -> None:
        """Let go of every resource that this object made, and of none that it was given. Never raises."""
        ...

    async def load(self, name: str) -> Kept | None:
        """The newest document under `name`, never one from before a save that was acknowledged; None for none."""
        ...

    async def save(self, name: str, data: bytes, version: int) -> int:
        """Replace the document of exactly this `version`, as durably as the store can, and return the new version.

        `version` is what `load` or the last `save` returned; 0 stands for "there is none yet". Where the store
        holds another one, `CheckpointConflict`, and nothing was written. A crash at any moment leaves the old
        document or the new one. After any other error it may or may not have been written.
        """
        ...


@runtime_checkable
class TransactionalCheckpointStore(CheckpointStore, Protocol):
    """A store in a database, where a position can be written in the same transaction as what was done about it."""

    def write(self, connection: Any, name: str, data: bytes, version: int) -> int | Awaitable[int]:
        """`save` within the transaction that is open on `connection`; it counts once that is committed.

        `CheckpointConflict` where the store holds another version; `CheckpointError` where no transaction is open.
        """
        ...
