"""A change of the data in two steps: announced before it is made, confirmed after."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol

from async_hybrid_cache_codecs.events import ChangeEnded, Event, KeysChanging, KeysRemoved

from .changes import LONGEST_SECONDS
from .errors import ConfigurationError
from .late import Removal
from .receipt import Receipt
from .scopes import Scopes
from .shared import SharedTier
from .stream import Pending
from .validation import positive

__all__ = ["Steps", "around"]


class _Change(Protocol):
    async def __call__(
        self,
        event: Removal | KeysChanging,
        fence: Callable[[], None],
        in_l2: Callable[[SharedTier], Awaitable[Any]],
        /,
    ) -> tuple[Any, Pending | None]: ...


class Steps(NamedTuple):
    """The cache's own steps for a change."""

    scopes: Scopes
    rng: random.Random
    change: _Change
    announce: Callable[[Event], object]
    receipt: Callable[[Pending | None], Awaitable[Receipt]]


@asynccontextmanager
async def around(steps: Steps, scope: str, keys: tuple[str, ...], seconds: float) -> AsyncIterator[Receipt]:
    """What `AsyncHybridCache.invalidating` does."""
    if positive("within_seconds", seconds) > LONGEST_SECONDS:
        raise ConfigurationError(f"within_seconds must be at most {LONGEST_SECONDS:g}, not {seconds:g}")
    scopes, rng, change, announce, receipt = steps
    event = KeysChanging(f"{rng.getrandbits(64):016x}", scope, keys, float(seconds))
    removed = KeysRemoved(scope, keys)
    try:
        _, pending = await change(event, lambda: scopes.changing(event), lambda l2: l2.hold(scope, keys, seconds))
        yield await receipt(pending)
    finally:
        try:
            _, pending = await change(removed, lambda: scopes.fence_keys(scope, keys), lambda l2: l2.drop(removed))
            await receipt(pending)
        finally:
            scopes.changes.end(event.change)
            announce(ChangeEnded(event.change))
