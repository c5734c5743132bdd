"""L1 over a restart: what is served at once, and what the missed events take away first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, ConfigurationError
from async_hybrid_cache.snapshot import writing
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import KeysExpired, KeysRemoved
from async_hybrid_cache_codecs.frames import seal
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.warm import Counting, keep, new_cache, snapshot_of


class User(msgspec.Struct):
    name: str
    tags: list[str]


def with_function(cache: AsyncHybridCache) -> tuple[Callable[[str], Awaitable[User]], list[str]]:
    loads: list[str] = []

    @cache.cached("user:{name}", scope="users")
    async def load_user(name: str) -> User:
        loads.append(name)
        return User(name, [])

    return load_user, loads


def test_a_restarted_process_serves_what_it_had(tmp_path: Path) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog("warm")

        cold = new_cache(log, tmp_path)
        load_user, _ = with_function(cold)
        async with cold:
            await load_user("a")
            await keep(cold, "plain", [1, 2])
        warm = new_cache(log, tmp_path)
        load_user, loads = with_function(warm)
        async with warm:
            user = await load_user("a")
            assert user == User("a", [])
            assert loads == []
            user.tags.append("mine")
            assert (await load_user("a")).tags == []
            assert await warm.get("plain") == [1, 2]
            assert warm.stats().entries == snapshot_of(warm).restored == 2
            assert warm.stats().stream.gap_total == 0  # type: ignore[union-attr]

    asyncio.run(scenario())


def _remove(cache: AsyncHybridCache) -> Awaitable[Any]:
    return cache.remove("k", scope="s")


def _set(cache: AsyncHybridCache) -> Awaitable[Any]:
    return cache.set("k", "new", scope="s")


def _clear_scope(cache: AsyncHybridCache) -> Awaitable[Any]:
    return cache.clear(scope="s")


def _clear(cache: AsyncHybridCache) -> Awaitable[Any]:
    return cache.clear()


def _expire(cache: AsyncHybridCache) -> Awaitable[Any]:
    async def expire() -> None:
        pending = cache.writes._announce(KeysExpired("s", ("k",)))
        assert pending is not None
        await pending.wait(1.0)

    return expire()


@pytest.mark.parametrize("change", [_remove, _set, _clear_scope, _clear, _expire])
def test_what_was_changed_elsewhere_meanwhile_is_not_served(
    tmp_path: Path, change: Callable[[AsyncHybridCache], Awaitable[Any]]
) -> None:
    async def scenario() -> None:
        name = f"missed{change.__name__}"

        def log() -> ScriptedLog:
            return ScriptedLog(name)

        async with new_cache(log, tmp_path / "other") as other:
            async with new_cache(log, tmp_path) as cache:
                await cache.get_or_set("k", Counting("old"), scope="s")
                await cache.get_or_set("k", Counting("kept"), scope="t")
            await change(other)
            async with new_cache(log, tmp_path) as cache:
                assert await cache.get("k", scope="s") is None
                assert await cache.get("k", scope="t") == (None if change is _clear else "kept")
                load = Counting("new")
                assert await cache.get_or_set("k", load, scope="s") == "new"
                assert load.calls == 1

    asyncio.run(scenario())


def test_an_expired_entry_may_still_stand_in_for_a_loader(tmp_path: Path) -> None:
    async def failing() -> Any:
        raise ConnectionError

    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog("expired-meanwhile")

        async with new_cache(log, tmp_path / "other") as other:
            async with new_cache(log, tmp_path) as cache:
                await cache.get_or_set("k", Counting("old"), scope="s")
            await _expire(other)
            async with new_cache(log, tmp_path) as cache:
                assert await cache.get_or_set("k", failing, scope="s") == "old"

    asyncio.run(scenario())


def test_nothing_is_served_before_the_missed_events_were_applied(tmp_path: Path) -> None:
    async def scenario() -> None:
        logs: list[ScriptedLog] = []

        def log() -> ScriptedLog:
            logs.append(ScriptedLog("invisible"))
            return logs[-1]

        async with new_cache(lambda: ScriptedLog("invisible"), tmp_path / "other") as other:
            async with new_cache(log, tmp_path) as cache:
                await keep(cache, "gone", 1)
                await keep(cache, "kept", 1)
            await other.remove("gone")
            cache = new_cache(log, tmp_path)
            logs[-1].away = True
            async with cache:
                assert await cache.get("gone") is None
                assert await cache.get("kept") is None
                assert cache.stats().entries == 0
                logs[-1].away = False
                await eventually(lambda: cache.stats().entries)
                assert await cache.get("gone") is None
                assert await cache.get("kept") == 1

    asyncio.run(scenario())


def _trim(log: ScriptedLog) -> None:
    log.trim(keep=1)


def _delete(log: ScriptedLog) -> None:
    log.delete()


def _forge_garbage(log: ScriptedLog) -> None:
    log.forge(b"\xc1", "garbage")


def _forge_hole(log: ScriptedLog) -> None:
    for first in (1, 3):
        sealed = seal(1, "another", first, 0, [KeysRemoved("x", ("y",))])
        log.forge(sealed.data, sealed.id)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_trim, "the log was trimmed or replaced since the snapshot"),
        (_delete, "the log was trimmed or replaced since the snapshot"),
        (_forge_garbage, "cannot be decoded"),
        (_forge_hole, "events of another are missing before 3"),
    ],
)
def test_a_log_that_cannot_tell_what_was_missed_is_a_cold_start(
    tmp_path: Path, damage: Callable[[ScriptedLog], None], reason: str
) -> None:
    async def scenario() -> None:
        logs: list[ScriptedLog] = []

        def log() -> ScriptedLog:
            logs.append(ScriptedLog(f"lost{damage.__name__}"))
            return logs[-1]

        async with new_cache(log, tmp_path / "other") as other:
            async with new_cache(log, tmp_path) as cache:
                await keep(cache, "k", "old")
            await other.remove("k")
            damage(logs[-1])
            async with new_cache(log, tmp_path) as cache:
                assert await cache.get("k") is None
                assert cache.stats().entries == 0
                stats = snapshot_of(cache)
                assert stats.thrown_away == 1
                assert reason in (stats.last_thrown_away or "")
                assert cache.stats().stream.gap_total == 1  # type: ignore[union-attr]
                await keep(cache, "k", "new")
            async with new_cache(log, tmp_path) as cache:
                assert await cache.get("k") == "new"

    asyncio.run(scenario())


def test_a_lost_tail_whose_positions_were_used_again_is_a_cold_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        logs: list[ScriptedLog] = []

        def log() -> ScriptedLog:
            logs.append(ScriptedLog("lost-tail"))
            return logs[-1]

        async with new_cache(log, tmp_path) as cache:
            await keep(cache, "k", "old")
        held = len(logs[-1].records())
        logs[-1].lose_tail(held - 1)
        for number in range(held):
            sealed = seal(1, "another", number + 1, 0, [KeysRemoved("x", ("y",))])
            logs[-1].forge(sealed.data, sealed.id)
        async with new_cache(log, tmp_path) as cache:
            assert await cache.get("k") is None
            assert snapshot_of(cache).thrown_away == 1

    asyncio.run(scenario())


def test_the_bound_on_staleness_holds_for_what_was_restored(tmp_path: Path) -> None:
    async def scenario() -> None:
        logs: list[ScriptedLog] = []

        def log() -> ScriptedLog:
            logs.append(ScriptedLog("bound"))
            return logs[-1]

        options = CacheOptions(max_staleness_seconds=0.3)
        async with new_cache(log, tmp_path, options=options) as cache:
            await keep(cache, "k", 1)
        async with new_cache(log, tmp_path, options=options) as cache:
            assert await cache.get("k") == 1
            logs[-1].away = True

            async def withheld() -> bool:
                return await cache.get("k") is None

            await eventually(withheld)

    asyncio.run(scenario())


def test_what_changes_while_the_scan_goes_on_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog("mid-scan")

        async with new_cache(log, tmp_path / "other") as other, new_cache(log, tmp_path) as cache:
            await keep(cache, "early", 1)
            await keep(cache, "late", 1, scope="zz")
            in_thread = writing.in_thread

            async def overtaken(call: Callable[[], Any]) -> Any:
                # the first chunk is encoded, and not written yet
                if b"early" in getattr(call, "args", (b"",))[0]:
                    await other.remove("early")
                    await eventually(lambda: "early" not in cache.scope_state("default").store.entries)
                    await keep(cache, "late", 2, scope="zz")
                return await in_thread(call)

            monkeypatch.setattr(writing, "in_thread", overtaken)
            snapshot = cache._snapshot
            stream = cache._stream
            assert snapshot is not None
            assert stream is not None
            await snapshot.write(stream.reader.position_to_keep())
            monkeypatch.undo()
            # as it would be after a kill
            (tmp_path / "l1.0").rename(tmp_path / "l1.1")
            async with new_cache(log, tmp_path) as restarted:
                assert snapshot_of(restarted).thrown_away == 0
                assert await restarted.get("early") is None
                assert await restarted.get("late", scope="zz") in (None, 2)

    asyncio.run(scenario())


def test_the_same_cache_can_be_started_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        cache = new_cache(lambda: ScriptedLog("again"), tmp_path)
        for number in range(3):
            async with cache:
                assert await cache.get("k") == (number or None)
                await keep(cache, "k", number + 1)

    asyncio.run(scenario())
    assert len(list(tmp_path.iterdir())) == 2  # one file, and its lock


def test_it_is_written_now_and_then(tmp_path: Path) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog("periodic")

        async with new_cache(log, tmp_path, snapshot_seconds=0.02) as killed:
            await keep(killed, "k", 1)
            written = snapshot_of(killed).written
            await eventually(lambda: snapshot_of(killed).written > written + 1)
            # its lock is still held, as that of a frozen process would be
            (tmp_path / "l1.0").rename(tmp_path / "l1.1")
            async with new_cache(log, tmp_path) as cache:
                assert await cache.get("k") == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["", "a\0b", 7, b"l1"])
def test_a_path_of_the_wrong_kind_is_refused(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="snapshot must be the path of a file"):
        AsyncHybridCache.from_url("memory://", snapshot=path)


def test_it_needs_a_bus(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="snapshot needs a bus"):
        AsyncHybridCache(snapshot=tmp_path / "l1")
    with pytest.raises(ConfigurationError, match="snapshot needs a bus"):
        AsyncHybridCache.from_config({"snapshot": "l1"})


def test_it_can_be_configured(tmp_path: Path) -> None:
    async def scenario() -> None:
        places = {"bus": f"sqlite:///{tmp_path}/cache.db", "snapshot": f"{tmp_path}/state/l1", "snapshot_seconds": 5}
        for number in range(2):
            async with AsyncHybridCache.from_config(places) as cache:
                await eventually(lambda cache=cache: cache.health().status == "ok")
                assert await cache.get("k") == (1 if number else None)
                await keep(cache, "k", 1)

    asyncio.run(scenario())
