"""What waits in the outbox counts as a tombstone against L2."""

from __future__ import annotations

import asyncio
import random

import pytest

from async_hybrid_cache import AsyncHybridCache, InvalidationBus, StreamOptions
from async_hybrid_cache.positions import Position
from async_hybrid_cache.stream.outbox import Outbox, Pending
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved, ScopeCleared
from async_hybrid_cache_codecs.frames import seal
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store

SCOPES, KEYS = "ab", "klm"


def names(event: Event, scope: str, key: str) -> bool:
    match event:
        case CacheCleared():
            return True
        case ScopeCleared():
            return event.scope == scope
        case KeysRemoved():
            return event.scope == scope and key in event.keys
    return False


@pytest.mark.parametrize("seed", range(30))
def test_just_what_waits_is_covered(seed: int) -> None:
    rng = random.Random(seed)
    box, pendings, sealed = Outbox(rng.choice([3, 1000]), rng.choice([1, 4]), 10_000), list[Pending](), False
    if rng.random() < 0.5:
        box.recover([seal(1, "before", 1, 0, [KeysRemoved("a", ("k",)), ScopeCleared("b")])])
    for number in range(200):
        match rng.randrange(8):
            case 0:
                sealed = box.frame(1, "o", number, 0) is not None
            case 1 if sealed:
                box.acknowledged(Position(1, number))
                sealed = False
            case 2 if pendings:
                box.withdraw(rng.choice(pendings))
            case 3:
                box.unseal()
                sealed = False
            case 4 if rng.random() < 0.1:
                box.clear()
                sealed = False
            case _:
                keys = tuple(rng.choice(KEYS) for _ in range(rng.randrange(1, 4)))
                scope = rng.choice(SCOPES)
                event = rng.choices([KeysRemoved(scope, keys), ScopeCleared(scope), CacheCleared()], [8, 2, 1])[0]
                pendings.append(box.add(event))
        for scope in SCOPES:
            for key in KEYS:
                assert box.unsaid.covers(scope, key) == any(names(event, scope, key) for event in box.waiting())
    while box.frame(1, "o", 1, 0):
        box.acknowledged(Position(1, 1))
    assert not box.unsaid._targets


def test_l2_is_not_believed_where_a_failover_undoes_a_delete_that_waits_for_the_log() -> None:
    async def scenario() -> None:
        store, version = Store(), 1
        log = ScriptedLog("l2-undone")
        stream = StreamOptions(retry_max_seconds=0.05, append_timeout_seconds=0.2)
        cache = AsyncHybridCache(
            distributed_cache=SharedMemory(store), invalidation_bus=InvalidationBus(lambda: log, stream)
        )

        async def load() -> int:
            return version

        async with cache:
            for key in "kl":
                assert await cache.get_or_set(key, load) == 1
            undone = dict(store.entries)
            log.away = True
            version = 2
            assert (await cache.remove("k")).queued
            store.entries.update(undone)
            assert await cache.get("k") is None
            assert await cache.get_or_set("k", load) == 2
            # of what was not removed it is believed as before
            await cache.remove_local("l")
            assert await cache.get_or_set("l", load) == 1
            log.away = False
            await eventually(lambda: not cache.stats().stream.outbox)  # type: ignore[union-attr]
            await cache.remove_local("k")
            assert await cache.get_or_set("k", load) == 2
            await eventually(lambda: ("default", "k") in store.entries)

    asyncio.run(scenario())
