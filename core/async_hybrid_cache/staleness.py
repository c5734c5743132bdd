"""Whether what is kept may still be served: judged at the read, by what this instance can prove to have heard."""

from __future__ import annotations

from collections.abc import Callable

from .clock import NEVER
from .options import EffectiveOptions
from .store import Entry, LocalStore

__all__ = ["Staleness"]


class Staleness:
    """Promise 3. `heard` gives the monotonic time as of which every acknowledged event has been applied here;
    alone, without a bus, that is infinity.

    Every entry in L1 holds all changes acknowledged before `heard()`, and by itself those before its `known_at`.
    """

    def __init__(self, now: Callable[[], float], heard: Callable[[], float]) -> None:
        self._now = now
        self._heard = heard
        self.past_bound = 0
        """Reads that found a value whose TTL had not ended, and which could not be vouched for."""

    def known_at(self, began_at: float = NEVER) -> float:
        """Before when a value kept now holds every change, if its load began at `began_at`."""
        return max(began_at, self._heard())

    def within(self, options: EffectiveOptions, known_at: float = NEVER) -> bool:
        """Whether the bound vouches for a value known at `known_at`; by default for one that others put into L2."""
        seconds = options.max_staleness_seconds
        return seconds is None or self._now() - self.known_at(known_at) < seconds

    def may_serve(self, store: LocalStore, entry: Entry, options: EffectiveOptions) -> bool:
        """Whether an entry that is `fresh_until` the past may be served; vouches for it anew where it can."""
        if self._now() >= entry.expires_at:
            return False
        if not self.within(options, entry.known_at):
            self.past_bound += 1
            return options.on_stale == "serve"
        entry.fresh_until = min(entry.expires_at, self.known_at(entry.known_at) + store.max_staleness)
        return True

    def withholds(self, entry: Entry | None, options: EffectiveOptions) -> bool:
        """Whether not even fail-safe may serve this entry."""
        return entry is not None and options.on_stale == "raise" and not self.within(options, entry.known_at)
