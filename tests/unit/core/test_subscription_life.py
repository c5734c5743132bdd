"""Subscriptions start, own, are deposed and end: one owner at a time, and nothing left behind."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

from async_hybrid_cache.ownership import Document, StoreUse
from async_hybrid_cache.subscription import Delivery
from async_hybrid_cache.subscription.delivery import Commit
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.memory_checkpoints import MemoryCheckpoints
from tests.unit.core.subscribing import Failing, Heard, Scene, played, removed


@played
async def test_an_event_whose_handler_was_stopped_is_delivered_again(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard):
        await scene.append("o", 1, removed(1))
        await heard.hears(removed(1))
        heard.held = asyncio.Event()
        await scene.append("o", 2, removed(2), removed(3))
        await eventually(lambda: heard.waiting)
    again = Heard()
    async with scene.subscription(again):
        await again.hears(removed(2), removed(3))


@played
async def test_a_handler_that_finishes_when_it_is_cancelled_ends_the_subscription(scene: Scene) -> None:
    finished: list[object] = []
    waiting = asyncio.Event()

    async def finish(delivery: Delivery) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            finished.append(delivery.event)
            if len(finished) > 1:
                raise

    before = asyncio.all_tasks()
    async with scene.bus().subscribe("s", finish):
        await scene.append("o", 1, removed(1), removed(2))
        await waiting.wait()
    assert asyncio.all_tasks() == before
    assert finished == [removed(1)]
    heard = Heard()
    async with scene.subscription(heard):
        await heard.hears(removed(2))


@played
async def test_a_start_that_is_cancelled_leaves_nothing_behind(scene: Scene) -> None:
    asked = asyncio.Event()

    class Hanging(MemoryCheckpoints):
        async def load(self, name: str) -> Any:
            asked.set()
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    subscription = scene.subscription(Heard(), checkpoints=Hanging(), call_timeout_seconds=5.0)
    starting = asyncio.create_task(subscription.start())
    await asked.wait()
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert starting.cancelled()
    assert asyncio.all_tasks() == before
    assert not subscription.stats().running


@played
async def test_of_a_fleet_one_delivers_and_another_goes_on_when_it_stops(scene: Scene) -> None:
    one, two = Heard(), Heard()
    async with scene.subscription(one) as first, scene.subscription(two) as second:
        assert first.stats().owner
        assert not second.stats().owner
        await scene.append("o", 1, removed(1))
        await one.hears(removed(1))
        await first.stop()
        await eventually(lambda: second.stats().owner)
        await scene.append("o", 2, removed(2))
        await two.hears(removed(2))
        assert one.events == [removed(1)]


@played
async def test_a_silent_owner_is_replaced_and_fenced(scene: Scene) -> None:
    one, two = Heard(), Heard()
    away = Failing(scene.checkpoints)
    async with scene.subscription(one, checkpoints=away) as first, scene.subscription(two) as second:
        started = await scene.checkpoints.load("subscription/s")

        async def saved() -> bool:
            return await scene.checkpoints.load("subscription/s") != started

        await scene.append("o", 1, removed(1))
        await one.hears(removed(1))
        await eventually(saved)
        away.failing = True  # as for one that is cut off from the store: it can neither beat nor save
        await eventually(lambda: second.stats().owner)
        await scene.append("o", 2, removed(2))
        await two.hears(removed(2))
        assert one.events == [removed(1)]
        away.failing = False
        await eventually(lambda: not first.stats().owner)
        await scene.append("o", 3, removed(3))
        await two.hears(removed(2), removed(3))
        assert one.events == [removed(1)]


@played
async def test_each_instance_delivers_for_itself(scene: Scene) -> None:
    one, two = Heard(), Heard()
    async with (
        scene.bus(instance_id="a").subscribe("s", one, per="instance"),
        scene.bus(instance_id="b").subscribe("s", two, per="instance"),
    ):
        await scene.append("o", 1, removed(1))
        await one.hears(removed(1))
        await two.hears(removed(1))


@played
async def test_a_save_whose_answer_was_lost_is_recognised(scene: Scene) -> None:
    heard, store = Heard(), Failing(scene.checkpoints)
    async with scene.subscription(heard, checkpoints=store) as subscription:
        for number in range(1, 30):
            store.lose_answers = 1
            await scene.append("o", number, removed(number))
            await eventually(lambda: heard.events[-1:] == [removed(number)])  # noqa: B023
        assert subscription.stats().delivered == 29
        assert subscription.stats().owner
    assert store.lost > 10


@played
async def test_an_ended_task_is_begun_again(scene: Scene) -> None:
    heard = Heard()
    async with scene.subscription(heard) as subscription:
        for task in asyncio.all_tasks():
            if task.get_name() in ("async-hybrid-cache owner", "subscription s reader"):
                task.cancel()
        await scene.append("o", 1, removed(1))
        await heard.hears(removed(1))
        await eventually(lambda: subscription.stats().last_error is None)


def test_commits_that_fail_for_a_long_time_do_not_pile_up() -> None:
    class Transactional(MemoryCheckpoints):
        def write(self, connection: Any, name: str, data: bytes, version: int) -> int:
            return version + 1

    commit = Commit(Document(StoreUse(Transactional(), 1.0), "n", "w"), lambda: bytes(100_000))
    tracemalloc.start()
    try:
        for _ in range(500):
            commit.write(None)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 5_000_000
