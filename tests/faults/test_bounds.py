"""What may not grow: with the keys that were ever seen, and with the time that the log is away."""

from __future__ import annotations

import asyncio

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.fleet import stream_of
from tests.faults.places import Mortal, Place

LRU_MAX_KEYS = 10_000
TOMBSTONES_MAX = 65_536
OUTBOX_MAX_EVENTS = 10_000
AT_ONCE = 1000


def new_cache(place: Place) -> AsyncHybridCache:
    """Without an L2, which has a bound of its own."""
    return AsyncHybridCache(
        invalidation_bus=find_broker(place.url).bus(place.url, namespace=place.namespace, stream=None)
    )


async def load() -> str:
    return "value"


@promise(8, fault="very many keys")
def test_neither_entries_nor_tombstones_grow_with_the_keys_that_were_seen(place: Place) -> None:
    async def main() -> None:
        async with new_cache(place) as one, new_cache(place) as other:
            for number in range(LRU_MAX_KEYS * 2):
                await one.get_or_set(f"read-{number}", load)
            # evicted from in steps
            assert LRU_MAX_KEYS <= one.stats().entries <= LRU_MAX_KEYS * 1.01
            for first in range(0, TOMBSTONES_MAX + 2 * AT_ONCE, AT_ONCE):
                receipt = await one.remove(*(f"removed-{number}" for number in range(first, first + AT_ONCE)))
            await eventually(lambda: stream_of(other.stats()).position == str(receipt.position))
            assert [cache.stats().tombstones for cache in (one, other)] == [TOMBSTONES_MAX] * 2
            # what the table no longer holds may be kept again
            await other.get_or_set("removed-0", load)
            assert await other.get("removed-0") == "value"
            assert [stream_of(cache.stats()).gap_total for cache in (one, other)] == [0, 0]

    asyncio.run(main())


@promise(6, fault="log away, outbox full")
@promise(8, fault="log away, outbox full")
def test_a_full_outbox_grows_coarser_and_loses_nothing(mortal: Mortal) -> None:
    async def main() -> None:
        keys = [f"key-{number}" for number in range(OUTBOX_MAX_EVENTS + 3 * AT_ONCE)]
        async with new_cache(mortal.place) as one, new_cache(mortal.place) as other:
            for key in (keys[0], keys[-1]):
                await other.get_or_set(key, load)
            await other.get_or_set("key", load, scope="untouched")
            async with mortal.away():
                for first in range(0, len(keys), AT_ONCE):
                    assert (await one.remove(*keys[first : first + AT_ONCE])).queued
                stream = stream_of(one.stats())
                # what was being sent goes as it is, and one word stands for all the others
                assert 0 < stream.outbox < len(keys) / AT_ONCE
                assert stream.outbox_coarsened > 0

            async def told() -> bool:
                return [await other.get(key) for key in (keys[0], keys[-1])] == [None, None]

            await eventually(told, timeout=2)
            await eventually(lambda: stream_of(one.stats()).outbox == 0)
            # no coarser than it had to be
            assert await other.get("key", scope="untouched") == "value"
            assert [stream_of(cache.stats()).gap_total for cache in (one, other)] == [0, 0]

    asyncio.run(main())
