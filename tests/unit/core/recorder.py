"""A stream on its own, and what it told its listener."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from async_hybrid_cache import InvalidationBus, StreamOptions
from async_hybrid_cache.clock import Clock, SystemClock
from async_hybrid_cache.positions import Position
from async_hybrid_cache.stream import InvalidationStream
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import Event, InstanceSeen, InstanceStarted, InstanceStopped
from tests.unit.core.scripted_log import ScriptedLog

__all__ = ["Instance"]


class Instance:
    """A running stream on `log` that remembers every call."""

    def __init__(self, log: ScriptedLog, *, clock: Clock | None = None, **options: Any) -> None:
        timing = {"retry_max_seconds": 0.05, "call_timeout_seconds": 0.2, "append_timeout_seconds": 0.3}
        bus = InvalidationBus(lambda: log, StreamOptions(**{**timing, "proof_seconds": 0.05, **options}))
        self.log = log
        self.events: list[tuple[Event, Position]] = []
        self.resets: list[str] = []
        self.attached: list[Position] = []
        self.floors: list[Position] = []
        self.raising: Exception | None = None
        self.stream = InvalidationStream(bus, self, clock or SystemClock(), random.SystemRandom())

    async def __aenter__(self) -> Instance:
        await self.stream.start(5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.stop(1.0)

    def replaying(self, floor: Position, lost: str | None) -> None:
        self.floors.append(floor)

    def apply(self, event: Event, position: Position) -> None:
        if self.raising is not None and not isinstance(event, InstanceStarted | InstanceSeen | InstanceStopped):
            raise self.raising
        self.events.append((event, position))

    def attach(self, position: Position) -> None:
        self.attached.append(position)

    def reset(self, position: Position, reason: str) -> None:
        self.resets.append(reason)

    def changes(self) -> list[Event]:
        """What was applied, without what instances say of themselves, each own event once."""
        seen: dict[tuple[Event, Position], None] = {}
        for event, position in self.events:
            if not isinstance(event, InstanceStarted | InstanceSeen | InstanceStopped):
                seen[event, position] = None
        return [event for event, _ in seen]

    async def publish(self, event: Event) -> Position:
        """Publish and wait for the acknowledgement."""
        pending = self.stream.publish(event)
        await eventually(lambda: pending.position is not None)
        assert pending.position is not None
        return pending.position

    async def hears(self, *events: Event) -> None:
        """Wait until exactly these changes were applied."""
        await eventually(lambda: self.changes() == list(events), message=f"{events} were not applied", timeout=3)

    async def caught_up(self) -> None:
        """Wait until everything in the log is applied."""
        await eventually(lambda: self.stream.reader.applied.offset == self.log.records()[-1].position.offset)
        await asyncio.sleep(0)
