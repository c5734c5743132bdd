"""A change of the data in two steps: announced before it is made, confirmed after."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from async_hybrid_cache_codecs.events import ChangeEnded, Event, KeysChanging, KeysRemoved

from .changes import LONGEST_SECONDS
from .errors import ConfigurationError
from .joint import L2Change, Leased
from .late import Removal
from .receipt import Receipt
from .scopes import Scopes
from .validation import positive
from .write import Write

__all__ = ["Steps", "around"]


class Steps(NamedTuple):
    """The cache's own steps for a change."""

    scopes: Scopes
    rng: random.Random
    write: Callable[[Removal | KeysChanging, L2Change, Callable[[], None]], Write]
    announce: Callable[[Event], object]


@asynccontextmanager
async def around(steps: Steps, scope: str, keys: tuple[str, ...], seconds: float) -> AsyncIterator[Receipt]:
    """What `AsyncHybridCache.invalidating` does."""
    if positive("within_seconds", seconds) > LONGEST_SECONDS:
        raise ConfigurationError(f"within_seconds must be at most {LONGEST_SECONDS:g}, not {seconds:g}")
    scopes, rng, write, announce = steps
    event = KeysChanging(f"{rng.getrandbits(64):016x}", scope, keys, float(seconds))
    removed = KeysRemoved(scope, keys)
    try:
        # the lease is for nobody: nothing is to be filled until it is deleted again
        announcing = write(event, Leased(scope, keys, event.change, seconds), lambda: scopes.changing(event))
        await announcing.begin()
        yield await announcing.receipt()
    finally:
        try:
            removing = write(removed, removed, lambda: scopes.fence_keys(scope, keys))
            await removing.begin()
            await removing.receipt()
        finally:
            scopes.changes.end(event.change)
            announce(ChangeEnded(event.change))
