"""L1: exact LRU, expiry, bounded memory."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections import OrderedDict

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.store import LocalStore


def put(store: LocalStore, key: str, *, now: float = 0.0, ttl: float = 60.0, stamp: Position = ORIGIN) -> None:
    store.put(key, f"value of {key}", None, now + ttl, now + ttl, stamp, now)


def touch(store: LocalStore, key: str) -> bool:
    """What a hit does."""
    entry = store.entries.get(key)
    if entry is not None:
        entry.used = store.tick()
    return entry is not None


@pytest.mark.parametrize("seed", range(20))
def test_eviction_is_exactly_least_recently_used(seed: int) -> None:
    rng = random.Random(seed)
    bound = rng.choice([1, 2, 7, 50])
    store, model = LocalStore(bound), OrderedDict[str, None]()
    keys = [f"k{number}" for number in range(bound * 3)]
    for _ in range(3000):
        key = rng.choice(keys)
        match rng.choices(["put", "touch", "discard", "clear"], [50, 40, 9, 0.2])[0]:
            case "put":
                put(store, key)
                model[key] = None
                model.move_to_end(key)
                if len(model) > bound:
                    model.popitem(last=False)
            case "touch":
                assert touch(store, key) == (key in model)
                if key in model:
                    model.move_to_end(key)
            case "discard":
                store.discard(key)
                model.pop(key, None)
            case "clear":
                store.clear()
                model.clear()
        assert store.entries.keys() == model.keys()
        assert store.slots <= 3 * bound + 3


@pytest.mark.parametrize("seed", range(10))
def test_expired_entries_leave_and_live_ones_stay(seed: int) -> None:
    rng = random.Random(seed)
    store, model = LocalStore(None), dict[str, float]()
    now = 0.0
    for _ in range(2000):
        now += rng.random()
        key, ttl = f"k{rng.randrange(300)}", rng.choice([1.0, 5.0, 50.0])
        put(store, key, now=now, ttl=ttl)
        model[key] = now + ttl
        if rng.random() < 0.1:
            store.sweep(now, rng.randrange(50))
        live = {name for name, until in model.items() if until > now}
        assert live <= store.entries.keys()
    store.sweep(now, store.slots)
    store.sweep(now, store.slots)
    assert store.entries.keys() == {name for name, until in model.items() if until > now}
    assert store.slots == len(store)


def test_a_sweep_looks_at_no_more_than_it_was_told() -> None:
    store = LocalStore(None)
    for number in range(1000):
        put(store, f"k{number}", ttl=60.0)
    store.sweep(100.0, 10)
    assert len(store) == 990


def test_insertions_alone_free_what_expired() -> None:
    store = LocalStore(None)
    for number in range(10_000):
        put(store, f"k{number}", now=float(number), ttl=100.0)
    assert len(store) < 500


def test_slots_stay_bounded_while_one_key_is_written_again_and_again() -> None:
    store = LocalStore(1000)
    for number in range(1000):
        put(store, f"k{number}")
    for _ in range(20_000):
        put(store, "k1")
    assert len(store) == 1000
    assert store.slots <= 2100


def test_slots_stay_bounded_while_keys_come_and_go() -> None:
    store = LocalStore(None)
    for number in range(20_000):
        put(store, f"k{number}")
        store.discard(f"k{number}")
    assert len(store) == 0
    assert store.slots <= 3


def test_a_hundred_thousand_keys_need_the_memory_of_a_thousand() -> None:
    async def memory_after(keys: int) -> int:
        cache = AsyncHybridCache(options=CacheOptions(lru_max_keys=1000))
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(keys):
                await cache.set(f"user:{number:08}", "v" * 20)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    thousand = asyncio.run(memory_after(1000))
    many = asyncio.run(memory_after(100_000))
    assert thousand > 100_000
    assert many < thousand * 1.15


def test_the_bound_is_per_scope() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(lru_max_keys=10))
        small = cache.scope("small", options=CacheOptions(lru_max_keys=2))
        for number in range(100):
            await cache.set(str(number), number)
            await small.set(str(number), number)
        scopes = cache.stats().scopes
        assert (scopes["default"].entries, scopes["small"].entries) == (10, 2)
        assert (scopes["default"].evictions, scopes["small"].evictions) == (90, 98)

    asyncio.run(scenario())


def test_zero_keeps_nothing_and_still_loads_once_for_all() -> None:
    async def scenario() -> None:
        cache = AsyncHybridCache(options=CacheOptions(lru_max_keys=0))
        loads = 0

        async def load() -> int:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0)
            return loads

        assert await asyncio.gather(*[cache.get_or_set("k", load) for _ in range(10)]) == [1] * 10
        assert await cache.get_or_set("k", load) == 2
        await cache.set("k", 9)
        assert await cache.get("k") is None
        assert cache.stats().entries == 0

    asyncio.run(scenario())


def test_none_is_unbounded() -> None:
    store = LocalStore(None)
    for number in range(30_000):
        put(store, str(number))
    assert len(store) == 30_000
    assert store.evictions == 0


def test_a_smaller_bound_evicts_the_least_recently_used() -> None:
    store = LocalStore(None)
    for key in "abcde":
        put(store, key)
    touch(store, "a")
    store.resize(2)
    assert store.entries.keys() == {"a", "e"}


def test_an_event_drops_only_what_is_stamped_before_it() -> None:
    store = LocalStore(None)
    put(store, "old", stamp=Position(1, 4))
    put(store, "same", stamp=Position(1, 5))
    put(store, "newer", stamp=Position(1, 6))
    for key in ("old", "same", "newer"):
        store.discard(key, Position(1, 5))
    assert store.entries.keys() == {"same", "newer"}
    store.clear(Position(1, 6))
    assert store.entries.keys() == {"newer"}
    store.expire("newer", Position(1, 6), 10.0)
    assert store.entries["newer"].fresh_until == 60.0
    store.expire("newer", Position(1, 7), 10.0)
    assert (store.entries["newer"].fresh_until, store.entries["newer"].stale_until) == (10.0, 60.0)


def test_eviction_still_works_after_a_clear_up_to_a_position() -> None:
    store = LocalStore(4)
    for number, key in enumerate("abcd"):
        put(store, key, stamp=Position(1, number))
    touch(store, "c")
    store.clear(Position(1, 2))
    for key in "xyz":
        put(store, key)
    assert store.entries.keys() == {"c", "x", "y", "z"}


def test_hits_are_counted_once_each() -> None:
    store = LocalStore(None)
    put(store, "k")
    for _ in range(5):
        touch(store, "k")
    assert [store.hits for _ in range(3)] == [5, 5, 5]


def test_the_sweeper_never_stalls_the_loop() -> None:
    """cashews' sweeper walks every key: 221 ms at 100k entries."""
    store = LocalStore(None)
    for number in range(100_000):
        store.put(f"k{number}", number, None, 60.0, 60.0, ORIGIN, 0.0)
    for swept in range(1, 101):
        store.sweep(100.0, 1000)
        assert len(store) == 100_000 - 1000 * swept


def test_evicting_from_a_store_used_since_stops_after_a_bounded_number_of_steps() -> None:
    count = 20_000
    store = LocalStore(count)
    for number in range(count):
        put(store, str(number))
    for entry in store.entries.values():
        entry.used = store.tick()
    for number in range(count, count + 100):
        put(store, str(number))
        assert len(store) <= count + 25
    # caught up, and exactly the least recently used are gone
    assert len(store) == count
    assert sorted(map(int, store.entries)) == list(range(100, count + 100))
