"""What a process changes itself before its snapshot is served."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, InvalidationBus, StreamOptions
from async_hybrid_cache.positions import Position
from async_hybrid_cache.snapshot import snapshot as snapshot_module
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.warm import keep, new_cache

_MOMENTS = ("before the start", "while it is read", "before the log is reached")
_CHANGES = ("remove", "set", "clear", "remove_local", "clear_memory")


@pytest.mark.parametrize(
    ("how", "moment"),
    # before the start there is nothing of the snapshot in this process's memory
    [(how, moment) for how in _CHANGES for moment in _MOMENTS[how in _CHANGES[3:] :]],
)
def test_own_changes_before_the_stream_is_attached_count(
    tmp_path: Path, how: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(cache: AsyncHybridCache) -> None:
        match how:
            case "remove":
                await cache.remove("k")
            case "set":
                await cache.set("k", "new")
            case "remove_local":
                await cache.remove_local("k")
            case "clear":
                await cache.clear(scope="default")
            case _:
                await cache.clear_memory(scope="default")

    async def scenario() -> None:
        logs: list[ScriptedLog] = []

        def log() -> ScriptedLog:
            logs.append(ScriptedLog(f"own-{how}-{moment}"))
            return logs[-1]

        async with new_cache(log, tmp_path) as cache:
            await keep(cache, "k", "old")
            await keep(cache, "kept", 1, scope="other")
        cache = new_cache(log, tmp_path)
        if moment == "before the start":
            await change(cache)
        elif moment == "while it is read":
            read = snapshot_module.read_snapshot

            async def reading(*arguments: Any) -> Any:
                await change(cache)
                return await read(*arguments)

            monkeypatch.setattr(snapshot_module, "read_snapshot", reading)
        else:
            logs[-1].away = True
        async with cache:
            if moment == "before the log is reached":
                await change(cache)
                logs[-1].away = False
                await eventually(lambda: cache.health().status == "ok")
            assert await cache.get("k") != "old"
            assert await cache.get("kept", scope="other") == 1

    asyncio.run(scenario())


class SlowLog(ScriptedLog):
    """Takes one record, and is slow with the next."""

    async def append(self, record: bytes, id: str) -> Position:
        if self.attempts:
            await asyncio.sleep(0.1)
        return await super().append(record, id)


def test_own_changes_that_are_announced_after_the_attachment_count(tmp_path: Path) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return SlowLog("announced-late")

        async with new_cache(log, tmp_path) as cache:
            await keep(cache, "k", "old")
        cache = new_cache(log, tmp_path)
        for number in range(600):  # more than go into one record
            await cache.remove(f"other-{number}")
        await cache.remove("k")
        async with cache:
            assert cache.stats().stream.outbox  # type: ignore[union-attr]
            assert await cache.get("k") is None

    asyncio.run(scenario())


def test_what_an_ended_process_had_not_told_the_others_counts(tmp_path: Path) -> None:
    async def scenario() -> None:
        logs: list[ScriptedLog] = []

        def new() -> AsyncHybridCache:
            options = StreamOptions(retry_max_seconds=0.05, instance_id="one", outbox=tmp_path / "outbox")
            logs.append(ScriptedLog("durable"))
            bus = InvalidationBus(lambda: logs[-1], options)
            return AsyncHybridCache(invalidation_bus=bus, snapshot=tmp_path / "state" / "l1")

        async with new() as cache:
            await keep(cache, "k", "old")
            await keep(cache, "kept", 1)
        cache = new()
        logs[-1].away = True
        async with cache:
            assert (await cache.remove("k")).queued
        async with new() as cache:
            await eventually(lambda: cache.health().status == "ok")
            assert await cache.get("k") is None
            assert await cache.get("kept") == 1

    asyncio.run(scenario())
