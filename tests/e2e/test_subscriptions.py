"""Subscribers are killed and frozen, on real servers: what is missed comes after, and nothing else."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from time import monotonic

import pytest

from async_hybrid_cache.cache import AsyncHybridCache
from async_hybrid_cache.positions import Position
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from tests.e2e.subscriber import Settings
from tests.e2e.subscribers import Subscriber, heard, kept, publisher

MISSED = 10_000


@pytest.fixture(params=["sqlite", "redis", "nats", "kafka"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A log on each broker, and the positions on the same one where it keeps such."""
    url = f"sqlite:///{tmp_path}/log.db"
    if request.param != "sqlite":
        url = request.getfixturevalue({"redis": "valkey"}.get(request.param, request.param)).url
    return Settings(
        bus=url,
        namespace=f"test-{uuid.uuid4().hex[:12]}",
        checkpoints=f"file://{tmp_path}/positions" if request.param == "kafka" else url,
        instance_id="worker",
        per="instance",
        heard=str(tmp_path / "heard"),
    )


async def remove_all(cache: AsyncHybridCache, keys: list[str]) -> Position:
    """Remove each key by itself; the position of the last."""
    receipts = []
    for begin in range(0, len(keys), 500):
        receipts += await asyncio.gather(*(cache.remove(key) for key in keys[begin : begin + 500]))
    assert not any(receipt.queued for receipt in receipts)
    positions = [receipt.position for receipt in receipts if receipt.position is not None]
    return max(positions)


async def has_heard(settings: Settings, keys: list[str], timeout: float = 10.0) -> None:
    await eventually(lambda: len(heard(settings.heard)) >= len(keys), timeout=timeout, poll_seconds=0.02)
    assert heard(settings.heard) == keys


@promise(7, fault="process killed")
def test_a_killed_instance_hears_exactly_what_it_missed(settings: Settings, tmp_path: Path) -> None:
    async def main() -> None:
        async with publisher(settings) as cache:
            await cache.remove("before there was a subscription")
            before = [f"before-{number}" for number in range(20)]
            async with Subscriber(settings) as subscriber:
                last = await remove_all(cache, before)
                await has_heard(settings, before)

                async def all_kept() -> bool:
                    return await kept(settings) >= last

                await eventually(all_kept)
                await subscriber.kill()
            missed = [f"missed-{number}" for number in range(MISSED)]
            await remove_all(cache, missed)
            began = monotonic()
            async with Subscriber(settings):
                await has_heard(settings, before + missed, timeout=60.0)
                print(f"{MISSED} events in {monotonic() - began:.2f} s, with the start of a process")
                await cache.remove("and on")
                await has_heard(settings, [*before, *missed, "and on"])

    asyncio.run(main())


def fleet(settings: Settings) -> tuple[Settings, Settings]:
    settings.per = "fleet"
    settings.lease_seconds = 1.0
    other = Settings(**{name: getattr(settings, name) for name in Settings.__struct_fields__})
    other.instance_id = "other"
    return settings, other


@promise(7, fault="process killed")
def test_another_takes_over_when_the_owner_is_killed(settings: Settings) -> None:
    async def main() -> None:
        one, two = fleet(settings)
        # long, as nothing here may wait for it: the process is seen to be gone
        one.lease_seconds = two.lease_seconds = 60.0
        async with publisher(settings) as cache, Subscriber(one) as first:
            await remove_all(cache, ["0"])
            await has_heard(settings, ["0"])
            async with Subscriber(two) as second:
                assert not (await second.stats()).owner
                await first.kill()
                last = await remove_all(cache, [str(number) for number in range(1, 200)])
                await eventually(second.owns, timeout=10.0)
                await has_heard(settings, [str(number) for number in range(200)])
                assert await kept(settings) <= last

    asyncio.run(main())


@promise(7, fault="process frozen")
def test_a_frozen_owner_is_replaced_and_fenced_when_it_wakes(settings: Settings) -> None:
    async def main() -> None:
        one, two = fleet(settings)
        positions: list[Position] = []

        async def watch() -> None:
            while True:
                positions.append(await kept(settings))
                await asyncio.sleep(0.02)

        async with publisher(settings) as cache, Subscriber(one) as first, Subscriber(two) as second:
            watching = asyncio.create_task(watch())
            keys = [str(number) for number in range(300)]
            await remove_all(cache, keys[:100])
            await eventually(lambda: heard(settings.heard))
            await first.freeze()
            await remove_all(cache, keys[100:200])
            await eventually(second.owns, timeout=10.0)
            await eventually(lambda: set(heard(settings.heard)) >= set(keys[:200]), timeout=10.0)
            first.thaw()

            async def deposed() -> bool:
                return not (await first.stats()).owner

            await eventually(deposed, timeout=10.0)
            last = await remove_all(cache, keys[200:])
            await eventually(lambda: set(heard(settings.heard)) >= set(keys), timeout=10.0)

            async def all_kept() -> bool:
                return await kept(settings) >= last

            await eventually(all_kept)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            assert positions == sorted(positions)
            written = heard(settings.heard)
            # no event is lost; what was under way when it froze may come twice, what came after does not
            assert set(written) == set(keys)
            assert all(written.count(key) == 1 for key in keys[200:])

    asyncio.run(main())
