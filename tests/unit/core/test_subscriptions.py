"""Subscriptions: in order, at least once, never in the cache's way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, ConfigurationError
from async_hybrid_cache.checkpoint import CheckpointStore
from async_hybrid_cache.positions import Bounds
from async_hybrid_cache.subscription import Delivery, Gap, Subscription
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared
from async_hybrid_cache_codecs.frames import seal
from tests.unit.core.clock import ManualClock
from tests.unit.core.memory_checkpoints import MemoryCheckpoints
from tests.unit.core.subscribing import Failing, Heard, Scene, played, removed


@played
async def test_it_begins_at_the_end_and_goes_on_where_it_was(scene: Scene) -> None:
    await scene.append("o", 1, removed("before"))
    first, second = Heard(), Heard()
    async with scene.subscription(first):
        await scene.append("o", 2, removed(1), CacheCleared())
        await first.hears(removed(1), CacheCleared())
    assert [delivery.id for delivery in first.deliveries] == ["o:2", "o:3"]
    await scene.append("o", 4, removed("missed"))
    async with scene.subscription(second):
        await second.hears(removed("missed"))
        await scene.append("o", 5, removed("after"))
        await second.hears(removed("missed"), removed("after"))


@played
async def test_it_keeps_its_beginning_before_the_first_event(scene: Scene) -> None:
    async with scene.subscription(Heard()):
        pass
    await scene.append("o", 1, removed(1))
    heard = Heard()
    async with scene.subscription(heard):
        await heard.hears(removed(1))


@played
async def test_a_failing_handler_is_called_again_with_the_same_event(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard) as subscription:
        heard.failures = 4
        await scene.append("o", 1, removed(1), removed(2))
        await eventually(lambda: subscription.stats().retries > 0)
        assert "the CDN is away" in str(subscription.stats().last_error)
        await heard.hears(removed(1), removed(2))
        stats = subscription.stats()
        assert (stats.retries, stats.delivered, stats.last_error) == (4, 2, None)


@played
async def test_a_log_slower_than_the_time_between_two_proofs_is_still_read(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard, proof_seconds=0.001):
        await scene.append("o", 1, removed(1))
        await heard.hears(removed(1))
        log = scene.logs[-1]
        bounds, asked = log.bounds, asyncio.Event()

        async def slow() -> Bounds:
            asked.set()
            await asyncio.sleep(0.005)
            return await bounds()

        log.bounds = slow  # type: ignore[method-assign]
        await asked.wait()
        await scene.append("o", 2, removed(2))
        await heard.hears(removed(1), removed(2))


@played
async def test_a_resent_frame_is_delivered_once(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard) as subscription:
        await scene.append("o", 1, removed(1), removed(2))
        sealed = seal(1, "o", 1, 0, [removed(1), removed(2)])
        scene.log.forge(sealed.data, sealed.id)
        await scene.append("o", 3, removed(3))
        await heard.hears(removed(1), removed(2), removed(3))
        assert subscription.stats().duplicates == 1


@played
async def test_half_a_frame_is_gone_on_with_at_its_other_half(scene: Scene) -> None:
    first = Heard()

    async def stop_at_two(delivery: Delivery) -> None:
        if delivery.event == removed(2):
            await asyncio.Event().wait()
        first.deliveries.append(delivery)

    async with scene.bus().subscribe("s", stop_at_two):
        await scene.append("o", 1, removed(1), removed(2), removed(3))
        await first.hears(removed(1))
    second = Heard()
    async with scene.subscription(second):
        await second.hears(removed(2), removed(3))


@played
async def test_what_says_nothing_is_not_delivered(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard) as subscription, AsyncHybridCache(invalidation_bus=scene.bus()) as cache:
        scene.log.forge(b"", "a note of the log's own")
        await cache.remove("k")
        await heard.hears(removed("k"))
        assert subscription.stats().gaps == 0


@played
async def test_what_cannot_be_read_is_a_gap_in_its_place(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard):
        await scene.append("o", 1, removed(1))
        scene.log.forge(b"junk", "junk")
        await scene.append("o", 5, removed(5))
        await eventually(lambda: len(heard.events) == 4)
        assert heard.events[0] == removed(1)
        assert isinstance(heard.events[1], Gap)
        assert "cannot be decoded" in heard.events[1].reason
        assert isinstance(heard.events[2], Gap)
        assert "missing before 5" in heard.events[2].reason
        assert heard.events[3] == removed(5)
        assert len({delivery.id for delivery in heard.deliveries}) == 4


@played
async def test_a_slow_handler_makes_no_gaps_of_writers_that_it_has_not_met(scene: Scene) -> None:
    await scene.append("old", 1, removed("before"))
    clock, heard = ManualClock(), Heard()
    heard.held = asyncio.Event()
    async with Subscription(scene.bus(), "slow", heard, clock=clock):
        await scene.append("o", 1, removed(1))
        await eventually(lambda: heard.waiting)
        clock.advance(60.0)  # by now it would have heard of every living writer, had it been reading
        await scene.append("old", 2, removed(2))
        heard.held.set()
        await heard.hears(removed(1), removed(2))


@played
async def test_a_log_trimmed_past_it_is_a_gap_and_the_rest_is_delivered(scene: Scene) -> None:
    first = Heard()
    async with scene.subscription(first):
        await scene.append("o", 1, removed(1))
        await first.hears(removed(1))
    for number in range(2, 12):
        await scene.append("o", number, removed(number))
    scene.log.trim(keep=3)
    second = Heard()
    async with scene.subscription(second):
        await eventually(lambda: len(second.events) == 4)
        assert second.events[0] == Gap("the log was trimmed past this instance")
        assert second.events[1:] == [removed(9), removed(10), removed(11)]


@played
async def test_another_log_in_its_place_is_a_gap(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard) as subscription:
        await scene.append("o", 1, removed(1))
        await heard.hears(removed(1))
        scene.log.delete()
        await scene.log.open()
        await scene.append("o", 7, removed(7))
        await heard.hears(removed(1), Gap("the log has another epoch"), removed(7))
        assert subscription.stats().gaps == 1


@played
async def test_a_tail_that_was_lost_is_a_gap_and_nothing_is_told_twice(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard):
        for number in range(1, 6):
            await scene.append("o", number, removed(number))
        await eventually(lambda: len(heard.events) == 5)
        scene.log.lose_tail(2)
        await scene.append("other", 1, removed("a"))
        await eventually(lambda: len(heard.events) == 7)
        assert heard.events[5] == Gap("the log lost its tail")
        await scene.append("other", 2, removed("b"))
        await eventually(lambda: len(heard.events) == 8)
        assert heard.events[6:] == [removed("a"), removed("b")]


@played
async def test_what_is_lost_after_a_gap_was_told_is_another_gap(scene: Scene) -> None:
    """The record that another took the place of was read, so that only the sequence shows what nobody was told."""
    heard = Heard()
    async with scene.subscription(heard):
        await scene.append("w", 1, removed("a"))
        await heard.hears(removed("a"))
        scene.log.delete()
        await scene.log.open()
        await eventually(lambda: any(isinstance(event, Gap) for event in heard.events))
        await scene.append("w", 3, removed("c"))
        await eventually(lambda: removed("c") in heard.events)
    assert [isinstance(event, Gap) for event in heard.events] == [False, True, True, False]


@played
async def test_it_does_not_hold_up_the_cache(scene: Scene) -> None:
    heard = Heard()
    heard.held = asyncio.Event()
    bus = scene.bus()
    subscription = bus.subscribe("slow", heard)
    async with AsyncHybridCache(invalidation_bus=bus) as cache, AsyncHybridCache(invalidation_bus=scene.bus()) as other:
        assert cache.stats().subscriptions[0].owner
        for number in range(50):
            await cache.set(f"k{number}", "value")
            await other.remove(f"k{number}")
            await eventually(lambda: cache.stats().entries == 0)
        assert heard.deliveries == []
        heard.held.set()
        await eventually(lambda: len(heard.deliveries) == 100)
        assert cache.health().status == "ok"
    assert not subscription.stats().running


@played
async def test_its_troubles_show_in_the_health_of_the_cache(scene: Scene) -> None:
    heard = Heard()
    bus = scene.bus()
    bus.subscribe("cdn", heard)
    async with AsyncHybridCache(invalidation_bus=bus) as cache:
        heard.failures = 3
        await cache.remove("k")
        await eventually(lambda: cache.health().status == "degraded")
        assert "subscription 'cdn' handler" in cache.health().reasons[0]
        await heard.hears(removed("k"))
        await eventually(lambda: cache.health().status == "ok")


async def _handler(delivery: Delivery) -> None: ...


def _plain(delivery: Delivery) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("", _handler), "name"),
        (("n" * 300, _handler), "name"),
        ((3, _handler), "name"),
        (("n", _plain), "async function"),
        (("n", "handler"), "async function"),
    ],
)
def test_what_cannot_be_subscribed_is_refused(arguments: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Scene().bus().subscribe(*arguments)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="checkpoints="):
        Scene().bus(checkpoints=None).subscribe("n", _handler)
    with pytest.raises(ConfigurationError, match="instance_id"):
        Scene().bus().subscribe("n", _handler, per="instance")
    with pytest.raises(ConfigurationError, match="per must be"):
        Scene().bus().subscribe("n", _handler, per="host")  # type: ignore[arg-type]
    bus = Scene().bus()
    bus.subscribe("n", _handler)
    with pytest.raises(ConfigurationError, match="already"):
        bus.subscribe("n", _handler)
    assert isinstance(Failing(MemoryCheckpoints()), CheckpointStore)


@played
async def test_a_store_without_transactions_says_so(scene: Scene) -> None:
    told: list[str] = []

    async def handler(delivery: Delivery) -> None:
        try:
            await delivery.commit(object())
        except ConfigurationError as error:
            told.append(str(error))

    async with scene.bus().subscribe("s", handler):
        await scene.append("o", 1, removed(1))
        await eventually(lambda: told)
        assert "SqliteCheckpointStore" in told[0]
