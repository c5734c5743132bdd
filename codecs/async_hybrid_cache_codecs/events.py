"""The closed, versioned union of everything an instance can say to the others.

Tags are part of the wire format: they are append-only and never renamed. A new field needs a default; a new
event type that older readers may safely skip is marked `ignorable` on the wire, any other makes an older
reader reset its L1 (see `frames`).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "CacheCleared",
    "ChangeEnded",
    "Event",
    "InstanceSeen",
    "InstanceStarted",
    "InstanceStopped",
    "KeysChanging",
    "KeysExpired",
    "KeysRemoved",
    "PositionsAsked",
    "ScopeCleared",
    "TagsInvalidated",
    "Unknown",
]


class _Event(msgspec.Struct, frozen=True, tag_field="t"):
    pass


class KeysRemoved(_Event, frozen=True, tag="keys_removed"):
    """The named entries of one scope are gone; no value from before this event may be returned again."""

    scope: str
    keys: tuple[str, ...]


class KeysExpired(_Event, frozen=True, tag="keys_expired"):
    """The named entries are no longer fresh, but may still stand in for a loader that fails."""

    scope: str
    keys: tuple[str, ...]


class TagsInvalidated(_Event, frozen=True, tag="tags_invalidated"):
    """Every entry that carries one of these tags is gone, in every scope."""

    tags: tuple[str, ...]


class ScopeCleared(_Event, frozen=True, tag="scope_cleared"):
    """Every entry of one scope is gone."""

    scope: str


class CacheCleared(_Event, frozen=True, tag="cache_cleared"):
    """Every entry of every scope is gone."""


class InstanceStarted(_Event, frozen=True, tag="instance_started"):
    """An instance has opened the log; the first event of its origin.

    `bound` is how long, in seconds, it serves what it has while it hears nothing; left out, that has no bound.
    """

    instance: str
    ignorable: bool = msgspec.field(default=True, name="i")
    bound: float | UnsetType = UNSET


class InstanceSeen(_Event, frozen=True, tag="instance_seen"):
    """A heartbeat: the instance lives, has applied the log up to `position` and is `lag` records behind.

    `bound` is that of `InstanceStarted`, as it is now.
    """

    instance: str
    position: tuple[int, int] = (0, 0)
    lag: int = 0
    ignorable: bool = msgspec.field(default=True, name="i")
    bound: float | UnsetType = UNSET


class InstanceStopped(_Event, frozen=True, tag="instance_stopped"):
    """An instance has closed the log in good order; the last event of its origin."""

    instance: str
    ignorable: bool = msgspec.field(default=True, name="i")


class PositionsAsked(_Event, frozen=True, tag="positions_asked"):
    """Every instance is asked to say that it lives, and what it has applied."""

    ignorable: bool = msgspec.field(default=True, name="i")


class KeysChanging(_Event, frozen=True, tag="keys_changing"):
    """The named entries are about to change: for `seconds` at most, or until `change` has ended, keep none of them."""

    change: str
    scope: str
    keys: tuple[str, ...]
    seconds: float


class ChangeEnded(_Event, frozen=True, tag="change_ended"):
    """What `change` announced has been removed since, by an event of its own."""

    change: str
    ignorable: bool = msgspec.field(default=True, name="i")


class Unknown(msgspec.Struct, frozen=True):
    """An event that this version cannot read. Not ignorable means: it may have been an invalidation."""

    type: str
    ignorable: bool


Event: TypeAlias = (
    KeysRemoved
    | KeysExpired
    | TagsInvalidated
    | ScopeCleared
    | CacheCleared
    | InstanceStarted
    | InstanceSeen
    | InstanceStopped
    | PositionsAsked
    | KeysChanging
    | ChangeEnded
)
