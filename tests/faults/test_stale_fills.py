"""Whatever brings a value is overtaken by a removal: it fills neither L1 nor L2, whether its instance heard or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, LoaderTimeout
from async_hybrid_cache.positions import Position
from async_hybrid_cache.receipt import Receipt
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, member, stream_of
from tests.faults.gated import gated
from tests.faults.held import HeldLoad
from tests.faults.member import Member
from tests.faults.places import Place

Load = Callable[[], Awaitable[Any]]
TIMEOUT_SECONDS = 1.0


async def by_read(cache: AsyncHybridCache, load: Load) -> int:
    value: int = await cache.get_or_set("key", load)
    return value


async def by_read_past_its_timeout(cache: AsyncHybridCache, load: Load) -> None:
    with pytest.raises(LoaderTimeout):
        await cache.get_or_set("key", load, options=CacheOptions(hard_timeout_seconds=TIMEOUT_SECONDS))


async def by_refresh(cache: AsyncHybridCache, load: Load) -> int:
    @cache.cached(lambda: "key", scope="default")
    async def function() -> Any:
        return await load()

    value: int = await function.refresh_cached()
    return value


WAYS: dict[str, Callable[[AsyncHybridCache, Load], Awaitable[int | None]]] = {
    "load under way": by_read,
    "load past its timeout": by_read_past_its_timeout,
    "refresh under way": by_refresh,
}


async def overtake(writer: Member, database: Database) -> Receipt:
    """Change what is being read, and announce it."""
    database.write("key")
    receipt = await writer.cache.remove("key")
    assert not receipt.queued
    return receipt


async def heard(cache: AsyncHybridCache, receipt: Receipt) -> None:
    """Wait until the removal is applied there."""
    at = receipt.position
    assert at is not None
    await eventually(lambda: Position.parse(stream_of(cache.stats()).position) >= at)


async def never_back(place: Place, database: Database, *instances: Member) -> None:
    """Everybody is fresh in time, and so is at once who has nothing in L1 and asks L2."""
    async with member(place, database) as newcomer:
        assert await newcomer.read("key") == database.read("key")
        await fresh_everywhere(database, [*instances, newcomer], ["key"], monotonic())


@promise(2, fault="{way}")
@pytest.mark.parametrize("way", WAYS)
def test_a_load_that_was_overtaken_by_a_removal_fills_nothing(way: str, place: Place, database: Database) -> None:
    async def main() -> None:
        async with member(place, database) as writer, gated(place) as (cache, _):
            load = HeldLoad(database, "key")
            database.write("key")
            caller = asyncio.ensure_future(WAYS[way](cache, load))
            await load.begun.wait()
            if way == "load past its timeout":
                await caller
            await heard(cache, await overtake(writer, database))
            reader = Member(cache, database)
            # whoever asks now waits for no load that began before
            assert await asyncio.wait_for(reader.read("key"), 5) == 2
            load.go_on.set()
            assert await caller in (1, None)
            await eventually(lambda: cache.stats().fills_fenced == 1)
            assert await reader.read("key") == 2
            await never_back(place, database, reader, writer)

    asyncio.run(main())


@promise(2, fault="{way}")
@pytest.mark.parametrize("way", WAYS)
def test_nor_does_one_whose_instance_has_not_heard_fill_l2(way: str, l2_place: Place, database: Database) -> None:
    async def main() -> None:
        async with member(l2_place, database) as writer, gated(l2_place) as (cache, gate):
            load = HeldLoad(database, "key")
            database.write("key")
            caller = asyncio.ensure_future(WAYS[way](cache, load))
            await load.begun.wait()
            if way == "load past its timeout":
                await caller
            gate.hold()
            await overtake(writer, database)
            load.go_on.set()
            await eventually(lambda: cache.stats().distributed.fills_refused == 1)
            async with member(l2_place, database) as newcomer:
                assert await newcomer.read("key") == 2
            gate.release()
            await never_back(l2_place, database, Member(cache, database), writer)
            await caller

    asyncio.run(main())


@promise(2, fault="copy from L2 under way")
def test_a_copy_from_l2_that_was_overtaken_by_a_removal_fills_nothing(l2_place: Place, database: Database) -> None:
    l2 = find_broker(l2_place.url).distributed_cache(l2_place.url, namespace=l2_place.namespace)
    assert l2 is not None
    get = l2.get
    found, go_on = asyncio.Event(), asyncio.Event()

    async def get_slowly(*arguments: Any, **options: Any) -> Any:
        answer = await get(*arguments, **options)
        found.set()
        await go_on.wait()
        return answer

    l2.get = get_slowly  # type: ignore[method-assign]

    async def main() -> None:
        async with (
            member(l2_place, database) as writer,
            gated(l2_place, distributed_cache=l2, distributed_timeout_seconds=10) as (cache, _),
        ):
            await writer.write("key")
            await writer.read("key")
            await eventually(lambda: writer.cache.stats().distributed.fills == 1)
            reader = Member(cache, database)
            caller = asyncio.create_task(reader.read("key"))
            await found.wait()
            await heard(cache, await overtake(writer, database))
            go_on.set()
            # it did not wait for a load yet, so it may have the new one
            assert await caller == 2
            stats = cache.stats()
            assert (stats.distributed.hits, stats.distributed.stale, stats.loads) == (1, 1, 1)
            await never_back(l2_place, database, reader, writer)

    asyncio.run(main())


@promise(2, fault="set under way")
@pytest.mark.parametrize("hears", [True, False])
def test_a_set_that_was_overtaken_by_a_removal_is_not_kept(hears: bool, place: Place, database: Database) -> None:
    async def main() -> None:
        async with member(place, database) as writer, gated(place) as (cache, gate):
            old = database.write("key")
            before = stream_of(writer.cache.stats()).position
            if hears:
                gate.hold_appends()
            else:
                gate.hold()
            setting = asyncio.create_task(cache.set("key", old))
            # it is in the log, and is not acknowledged
            await eventually(lambda: stream_of(writer.cache.stats()).position != before)
            removed = await overtake(writer, database)
            if hears:
                await heard(cache, removed)
            gate.release()
            receipt = await setting
            assert receipt.position is not None
            assert removed.position is not None
            assert receipt.position < removed.position
            reader = Member(cache, database)
            assert not hears or await reader.read("key") == 2
            await never_back(place, database, reader, writer)

    asyncio.run(main())


@promise(2, fault="snapshot older than a removal")
@promise(7, fault="snapshot older than a removal")
def test_a_snapshot_brings_back_nothing_that_was_removed_meanwhile(
    place: Place, database: Database, tmp_path: Path
) -> None:
    keys = ["key", "kept"]

    async def main() -> None:
        async with member(place, database) as writer:
            for key in keys:
                await writer.write(key)
            async with gated(place, distributed_cache=None, snapshot=str(tmp_path / "l1")) as (cache, _):
                await fresh_everywhere(database, [Member(cache, database)], keys, monotonic())
            await overtake(writer, database)
            async with gated(place, distributed_cache=None, snapshot=str(tmp_path / "l1")) as (cache, _):
                assert await Member(cache, database).read_all(keys) == database.read_all(keys)
                stats = cache.stats()
                assert stats.snapshot is not None
                assert (stats.snapshot.restored, stats.loads) == (1, 1)

    asyncio.run(main())


@promise(7, fault="log trimmed")
def test_a_snapshot_whose_log_was_trimmed_past_it_is_thrown_away(
    place: Place, database: Database, tmp_path: Path
) -> None:
    async def main() -> None:
        async with member(place, database) as writer:
            await writer.write("key")
            async with gated(place, distributed_cache=None, snapshot=str(tmp_path / "l1")) as (cache, _):
                await fresh_everywhere(database, [Member(cache, database)], ["key"], monotonic())
            for _ in range(5):
                await overtake(writer, database)
            await place.trim()
            async with gated(place, distributed_cache=None, snapshot=str(tmp_path / "l1")) as (cache, _):
                stats = cache.stats()
                assert stats.snapshot is not None
                assert (stats.snapshot.thrown_away, stats.entries) == (1, 0)
                await never_back(place, database, Member(cache, database), writer)

    asyncio.run(main())
