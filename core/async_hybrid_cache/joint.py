"""L2 and log on one server: what a change does to both, in one step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from async_hybrid_cache_codecs.events import KeysRemoved

from .errors import LogRefused
from .late import Removal
from .log import EventLog
from .positions import Position

__all__ = ["Joint", "JointAppend", "Joins", "L2Change", "Leased"]

logger = logging.getLogger("async_hybrid_cache")


class Leased(NamedTuple):
    """Entries deleted and replaced by leases: for `seconds`, or until they are deleted, `token` alone fills them."""

    scope: str
    keys: tuple[str, ...]
    token: str
    seconds: float

    @property
    def removed(self) -> KeysRemoved:
        """The event that deletes as much."""
        return KeysRemoved(self.scope, self.keys)


L2Change: TypeAlias = Removal | Leased
"""What a change does in L2: delete what an event names, or lease it."""


class JointAppend(Protocol):
    """Appends a record as `EventLog.append` does, and makes `changes` in L2 in the same step, in their order.

    Whoever can read the record finds them made. Where the call fails, they may be made alone, but never the record be
    there without them; a repeat may make them again. `LogRefused` says that the two cannot be done in one step: from
    then on they are done one after the other.
    """

    async def __call__(self, record: bytes, id: str, changes: Sequence[L2Change]) -> Position: ...


@runtime_checkable
class Joins(Protocol):
    """What a `DistributedCache` may offer beside, where it can be on the same server as a log."""

    def joined(self, log: EventLog) -> JointAppend | None:
        """How to append to `log` and change this cache in one step; None where that cannot be done."""
        ...


class Joint:
    """A `JointAppend`, until it is refused."""

    def __init__(self, append: JointAppend) -> None:
        self.append = append
        self.refused = False

    def refuse(self, error: LogRefused) -> None:
        """Do not use it any more."""
        self.refused = True
        logger.warning("L2 and log are changed one after the other from now on: %s", error)
