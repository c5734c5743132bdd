"""What tests of subscriptions share."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from async_hybrid_cache import CheckpointError, InvalidationBus, StreamOptions
from async_hybrid_cache.subscription import Delivery, Subscription
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import Event, KeysRemoved
from async_hybrid_cache_codecs.frames import seal
from tests.unit.core.memory_checkpoints import MemoryCheckpoints
from tests.unit.core.scripted_log import ScriptedLog

__all__ = ["Failing", "Heard", "Scene", "played", "removed"]

_names = itertools.count()


def removed(key: object) -> KeysRemoved:
    return KeysRemoved("default", (str(key),))


class Heard:
    """A handler that remembers, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.failures = 0
        self.held: asyncio.Event | None = None
        self.waiting = False

    async def __call__(self, delivery: Delivery) -> None:
        if self.held is not None:
            self.waiting = True
            await self.held.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the CDN is away")
        self.deliveries.append(delivery)

    @property
    def events(self) -> list[Any]:
        return [delivery.event for delivery in self.deliveries]

    async def hears(self, *events: object) -> None:
        await eventually(lambda: self.events == list(events), message=f"not {events}")


class Scene:
    """A log, its checkpoints, and a cache that publishes."""

    def __init__(self) -> None:
        self.name = f"subscription-{next(_names)}"
        self.log = ScriptedLog(self.name)
        self.checkpoints = MemoryCheckpoints()
        self.logs: list[ScriptedLog] = []

    def bus(self, **options: Any) -> InvalidationBus:
        timing = {"retry_max_seconds": 0.05, "call_timeout_seconds": 0.2, "proof_seconds": 0.05, "lease_seconds": 0.3}

        def new_log() -> ScriptedLog:
            self.logs.append(ScriptedLog(self.name))
            return self.logs[-1]

        return InvalidationBus(new_log, StreamOptions(**{**timing, "checkpoints": self.checkpoints, **options}))

    def subscription(self, handler: Heard, name: str = "s", **options: Any) -> Subscription:
        return self.bus(**options).subscribe(name, handler)

    async def append(self, origin: str, first: int, *events: Event) -> None:
        sealed = seal(self.log._records.epoch, origin, first, 0, events)
        await self.log.append(sealed.data, sealed.id)


def played(test: Any) -> Any:
    """An async test with a scene, in bounded time."""

    def run() -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                scene = Scene()
                await scene.log.open()
                await test(scene)

        asyncio.run(bounded())

    run.__name__ = test.__name__
    return run


class Failing:
    """A store that can be away, or lose its answers."""

    def __init__(self, store: MemoryCheckpoints) -> None:
        self._store = store
        self.failing = False
        self.lose_answers = 0
        self.lost = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def load(self, name: str) -> Any:
        if self.failing:
            raise CheckpointError("away")
        return await self._store.load(name)

    async def save(self, name: str, data: bytes, version: int) -> int:
        if self.failing:
            raise CheckpointError("away")
        saved = await self._store.save(name, data, version)
        if self.lose_answers:
            self.lose_answers -= 1
            self.lost += 1
            raise CheckpointError("the connection broke before the answer")
        return saved
