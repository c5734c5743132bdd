"""Clearing a scope without knowing what is in it: entries of another generation than the current one are misses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from ..clock import Clock

__all__ = ["Generations"]

_KNOWN_SECONDS = 10.0
_ASKING_SECONDS = 1.0
# the longest that memcached takes for a duration; one that is gone is drawn anew, which makes misses of the entries
_KEPT_SECONDS = 30 * 86_400
_MOST_SCOPES = 4096


class Generations:
    """The generation of each scope and of all scopes, kept in the cache itself, and known here for ten seconds.

    What a scope's generation was when a load began is no older than what the load saw of the data. One known from
    before a clear lets in no more than what the event of that clear will refuse; it is asked for anew after it.
    """

    def __init__(
        self,
        get: Callable[[str | None], Awaitable[str | None]],
        put: Callable[[str | None, str, int], Awaitable[None]],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._get = get
        self._put = put
        self._now = clock.monotonic
        self._rng = rng
        self._known: dict[str | None, tuple[str, float]] = {}
        self._turn = 0

    async def current(self, scope: str) -> str:
        """The generation that the entries of `scope` must be of."""
        everything, own = self._fresh(None), self._fresh(scope)
        if everything is None or own is None:
            everything, own = await asyncio.gather(self._ask(None), self._ask(scope))
        return f"{everything}{own}"

    async def renew(self, scope: str | None) -> None:
        """Begin a new one, for one scope or for all."""
        self.forget(scope)
        drawn = self._draw()
        await self._put(scope, drawn, _KEPT_SECONDS)
        self._turn += 1
        self._know(scope, drawn)

    def forget(self, scope: str | None) -> None:
        """There may be a new one, of one scope or of any."""
        self._turn += 1
        if scope is None:
            self._known.clear()
        else:
            self._known.pop(scope, None)

    async def _ask(self, scope: str | None) -> str:
        known = self._fresh(scope)
        if known is not None:
            return known
        if scope in self._known:
            # one asks, the others go on with what was known
            self._know(scope, self._known[scope][0], _ASKING_SECONDS)
        turn = self._turn
        found = await self._get(scope)
        if found is None:
            drawn = self._draw()
            await self._put(scope, drawn, _KEPT_SECONDS)
            # of several who found none at once, all go by the one that was put last
            found = await self._get(scope) or drawn
        if turn == self._turn:
            self._know(scope, found)
        return found

    def _fresh(self, scope: str | None) -> str | None:
        known = self._known.get(scope)
        return known[0] if known is not None and self._now() < known[1] else None

    def _know(self, scope: str | None, generation: str, seconds: float = _KNOWN_SECONDS) -> None:
        if len(self._known) >= _MOST_SCOPES:
            self._known.clear()
        self._known[scope] = generation, self._now() + seconds

    def _draw(self) -> str:
        return f"{self._rng.getrandbits(64):016x}"
