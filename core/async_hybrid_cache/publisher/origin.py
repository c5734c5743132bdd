"""Who speaks in the log where nobody reads: a name, and the sequence of its events."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from async_hybrid_cache_codecs.events import Event
from async_hybrid_cache_codecs.frames import SealedFrame, seal

from ..clock import Clock

__all__ = ["Origin"]


class Origin:
    """The origin of a producer that sends no heartbeats; it is drawn again after `silent_seconds` of silence.

    Readers expect to hear of every origin once a heartbeat: one that was silent is a stranger to those that started
    meanwhile, and its next sequence a gap.
    """

    def __init__(self, name: str, clock: Clock, silent_seconds: float) -> None:
        self._name = name
        self._clock = clock
        self._silent_seconds = silent_seconds
        self._draw()

    def _draw(self) -> None:
        self.id = f"{self._name}-{secrets.token_hex(8)}"
        self.sequence: int = 0
        self._spoke = self._clock.monotonic()

    def renew(self) -> None:
        """Call it before sealing, where nothing sealed waits: draws another one where this was silent for too long."""
        if self._clock.monotonic() > self._spoke + self._silent_seconds:
            self._draw()

    def spoke(self) -> None:
        """A frame of it was acknowledged."""
        self._spoke = self._clock.monotonic()

    def seal(self, epoch: int, events: Sequence[Event]) -> SealedFrame:
        """Seal `events` as what it says next."""
        frame = seal(epoch, self.id, self.sequence + 1, self._clock.time_ns(), events)
        self.sequence = frame.last
        return frame
