from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import ConfigurationError, DistributedCacheError
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.testing.distributed_contract import no_lease
from async_hybrid_cache_brokers.sqlite import SqliteDistributedCache, SqliteLog

STAMP = Position(5, 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def opened(path: Path, test: Callable[[SqliteDistributedCache], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        cache = SqliteDistributedCache(path, **options)
        await cache.open()
        try:
            return await test(cache)
        finally:
            await cache.close()

    return asyncio.run(main())


async def get(cache: SqliteDistributedCache, key: str, oldest: Position = ORIGIN, lease: float = 30) -> Hit | Miss:
    return await cache.get("s", key, oldest=oldest, lease_seconds=lease)


async def put(cache: SqliteDistributedCache, key: str, data: bytes, ttl: float = 60, scope: str = "s") -> bool:
    token = await cache.lease(scope, key, lease_seconds=30)
    return await cache.fill(scope, key, data, stamp=STAMP, ttl=ttl, token=token)


def execute(path: Path, statement: str, *values: object) -> list[Any]:
    db = sqlite3.connect(path)
    with db:
        rows = db.execute(statement, values).fetchall()
    db.close()
    return rows


def test_a_miss_a_fill_and_a_hit(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        miss = await get(cache, "k")
        assert isinstance(miss, Miss)
        assert miss.token is not None
        assert no_lease(await get(cache, "k"))
        assert await cache.fill("s", "k", b"value", stamp=STAMP, ttl=60, token=miss.token)
        hit = await get(cache, "k")
        assert isinstance(hit, Hit)
        assert (hit.data, hit.stamp) == (b"value", STAMP)
        assert 55 < hit.remaining <= 60
        assert not await cache.fill("s", "k", b"again", stamp=STAMP, ttl=60, token=miss.token)
        assert (await get(cache, "k"))[0] == b"value"
        assert isinstance(await cache.get("other", "k", oldest=ORIGIN, lease_seconds=1), Miss)

    opened(path, test)


@pytest.mark.parametrize("void", ["delete", "clear scope", "clear all", "lease"])
def test_what_voids_a_lease(path: Path, void: str) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        miss = await get(cache, "k")
        assert isinstance(miss, Miss)
        assert miss.token
        if void == "delete":
            await cache.delete("s", ["other", "k"])
        elif void == "lease":
            assert await cache.lease("s", "k", lease_seconds=30) != miss.token
        else:
            await cache.clear("s" if void == "clear scope" else None)
        assert not await cache.fill("s", "k", b"old", stamp=STAMP, ttl=60, token=miss.token)
        assert isinstance(await get(cache, "k"), Miss)

    opened(path, test)


def test_a_lease_ends_by_itself(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        miss = await get(cache, "k", lease=0.05)
        assert isinstance(miss, Miss)
        assert miss.token
        deadline = time.monotonic() + 5
        while no_lease(again := await get(cache, "k")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert isinstance(again, Miss)
        assert again.token
        assert not await cache.fill("s", "k", b"late", stamp=STAMP, ttl=60, token=miss.token)
        assert await cache.fill("s", "k", b"new", stamp=STAMP, ttl=60, token=again.token)

    opened(path, test)


def test_an_entry_stamped_before_the_oldest_is_deleted(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        await put(cache, "k", b"old")
        assert isinstance(await get(cache, "k", oldest=STAMP), Hit)
        miss = await get(cache, "k", oldest=Position(STAMP.epoch, STAMP.offset + 1))
        assert isinstance(miss, Miss)
        assert miss.token
        assert isinstance(await get(cache, "k"), Miss)

    opened(path, test)


def test_an_expired_entry_is_a_miss_and_leaves_the_file(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        for number in range(20):
            await put(cache, f"k{number}", b"x", ttl=0.01)
        deadline = time.monotonic() + 5
        while isinstance(await get(cache, "k19"), Hit):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        for number in range(3):
            await put(cache, f"live{number}", b"y")

    opened(path, test)
    keys = {key for (key,) in execute(path, "SELECT key FROM ahc_entries")}
    assert keys == {"live0", "live1", "live2", "k19"}  # k19 is a lease again


def test_clear_of_a_scope_leaves_the_others_and_the_log(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        log = SqliteLog(path)
        await log.open()
        position = await log.append(b"event", "id")
        await put(cache, "k", b"1", scope="a")
        await put(cache, "k", b"2", scope="b")
        await cache.clear("a")
        assert isinstance(await cache.get("a", "k", oldest=ORIGIN, lease_seconds=1), Miss)
        assert isinstance(await cache.get("b", "k", oldest=ORIGIN, lease_seconds=1), Hit)
        await cache.clear(None)
        assert isinstance(await cache.get("b", "k", oldest=ORIGIN, lease_seconds=1), Miss)
        assert len(await log.read(position, 10, 0)) == 1
        await log.close()

    opened(path, test)


def test_content_is_bounded_and_the_oldest_leaves_first(path: Path) -> None:
    bound = 1024 * 1024

    async def test(cache: SqliteDistributedCache) -> None:
        for number in range(400):
            await put(cache, f"k{number}", b"x" * 10_000)
        assert isinstance(await get(cache, "k399"), Hit)
        assert isinstance(await get(cache, "k0"), Miss)
        assert not await put(cache, "huge", b"x" * (bound + 1))
        assert isinstance(await get(cache, "k399"), Hit)

    opened(path, test, max_bytes=bound)
    assert path.stat().st_size < 2 * bound
    ((count,),) = execute(path, "SELECT count(*) FROM ahc_entries WHERE data IS NOT NULL")
    assert 20 < count < 110


def test_concurrent_calls_share_transactions_and_one_of_them_leads(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        found = await asyncio.gather(*(get(cache, "hot") for _ in range(100)))
        assert sum(miss.token is not None for miss in found if isinstance(miss, Miss)) == 1
        assert all(await asyncio.gather(*(put(cache, f"k{n}", b"%d" % n) for n in range(100))))
        hits = await asyncio.gather(*(get(cache, f"k{n}") for n in range(100)))
        assert [hit[0] for hit in hits] == [b"%d" % n for n in range(100)]

    opened(path, test)


def test_a_call_that_cannot_be_bound_fails_alone(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        await put(cache, "k", b"v")
        good, bad = await asyncio.gather(get(cache, "k"), get(cache, "\ud800"), return_exceptions=True)
        assert isinstance(good, Hit)
        assert isinstance(bad, DistributedCacheError)

    opened(path, test)


def test_a_locked_file_delays_no_hit_and_fails_a_write_in_time(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        await put(cache, "k", b"v")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            began = time.monotonic()
            missing = asyncio.create_task(get(cache, "missing"))
            while time.monotonic() - began < 0.3:
                assert isinstance(await get(cache, "k"), Hit)
            assert not missing.done()
            with pytest.raises(DistributedCacheError, match="locked"):
                await missing
            assert time.monotonic() - began < 2
        finally:
            other.execute("ROLLBACK")
            other.close()
        assert isinstance(await get(cache, "missing"), Miss)

    opened(path, test)


def test_cancelled_calls_leave_the_cache_usable(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        for turns in range(6):
            calls = [asyncio.create_task(put(cache, f"k{n}", b"v")) for n in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert results[1::2] == [True] * 10
        assert isinstance(await get(cache, "k1"), Hit)

    opened(path, test)


def test_a_deleted_file_is_made_again(path: Path) -> None:
    async def test(cache: SqliteDistributedCache) -> None:
        await put(cache, "k", b"v")
        for file in path.parent.iterdir():
            file.unlink()
        assert isinstance(await get(cache, "k"), Miss)
        assert await put(cache, "k", b"v")
        assert isinstance(await get(cache, "k"), Hit)
        assert execute(path, "SELECT key FROM ahc_entries") == [("k",)]

    opened(path, test)


def test_a_file_that_is_no_database_fails_until_it_is_deleted(path: Path) -> None:
    path.write_bytes(b"certainly not a database " * 100)

    async def main() -> None:
        cache = SqliteDistributedCache(path)
        with pytest.raises(DistributedCacheError, match=r"cache\.db is not an SQLite database"):
            await cache.open()
        with pytest.raises(DistributedCacheError, match=r"cache\.db is not an SQLite database"):
            await get(cache, "k")
        await asyncio.to_thread(path.unlink)
        assert isinstance(await get(cache, "k"), Miss)
        await cache.close()

    asyncio.run(main())


def test_entries_of_another_boot_are_dropped(path: Path) -> None:
    opened(path, lambda cache: put(cache, "k", b"v"))
    assert isinstance(opened(path, lambda cache: get(cache, "k")), Hit)
    execute(path, "UPDATE ahc_boot SET boot = 'another'")
    assert isinstance(opened(path, lambda cache: get(cache, "k")), Miss)


def test_a_closed_cache_fails_and_opens_again_in_another_loop(path: Path) -> None:
    cache = SqliteDistributedCache(path)

    async def once() -> Hit | Miss:
        await cache.open()
        found = await get(cache, "k")
        await put(cache, "k", b"v")
        waiting = asyncio.create_task(get(cache, "k2"))
        await asyncio.sleep(0)
        await cache.close()
        await cache.close()
        with pytest.raises(DistributedCacheError):
            await waiting
        with pytest.raises(DistributedCacheError, match="not open"):
            await get(cache, "k")
        return found

    assert isinstance(asyncio.run(once()), Miss)
    assert isinstance(asyncio.run(once()), Hit)


def test_what_is_no_file_and_options_are_refused_when_made(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="memory://"):
        SqliteDistributedCache(":memory:")
    with pytest.raises(ConfigurationError, match="max_bytes"):
        SqliteDistributedCache(path, max_bytes=0)
