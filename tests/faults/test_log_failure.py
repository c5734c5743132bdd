"""Callers that would rather have an error than a queue, while the broker is away."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from async_hybrid_cache import AsyncHybridCache, LogUnavailable, StreamOptions
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, gaps, member, write_all
from tests.faults.member import Member
from tests.faults.places import Mortal

KEYS = [f"key-{i}" for i in range(5)]
# what a change may take: its delete in L2 and the wait for the log, each as long as shipped options let it
BOUND_SECONDS = 10.0


@promise(6, fault="log away, an error wanted")
def test_a_change_that_could_not_be_told_raises_and_is_told_when_it_is_repeated(
    mortal: Mortal, database: Database
) -> None:
    place, stream = mortal.place, StreamOptions(on_log_failure="raise")

    async def main() -> None:
        cache = AsyncHybridCache.from_url(place.url, namespace=place.namespace, stream=stream)
        async with cache, member(place, database) as other:
            one = Member(cache, database)
            await write_all(one, KEYS)
            await fresh_everywhere(database, [one, other], KEYS, monotonic())
            async with mortal.away():
                for key in KEYS:
                    async with asyncio.timeout(BOUND_SECONDS):
                        with pytest.raises(LogUnavailable):
                            await one.write(key)
                    assert await one.read(key) == database.read(key), "what this process holds is dropped all the same"

            async def repeated() -> bool:
                try:
                    return not (await one.remove(*KEYS)).queued
                except LogUnavailable:
                    return False

            await eventually(repeated, timeout=BOUND_SECONDS)
            await fresh_everywhere(database, [one, other], KEYS, monotonic())
            assert await gaps([one, other]) == [0, 0]

    asyncio.run(main())
