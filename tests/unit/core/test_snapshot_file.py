"""The file of a snapshot: damaged, half-written, of other code, of another time, in other hands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from async_hybrid_cache import MsgpackSerializer
from async_hybrid_cache.checkpoint import Checkpoint
from async_hybrid_cache.options import EffectiveOptions
from async_hybrid_cache.scopes import Scopes
from async_hybrid_cache.snapshot import Snapshot, records
from async_hybrid_cache.snapshot import snapshot as snapshot_module
from async_hybrid_cache.snapshot.frames import FrameWriter
from async_hybrid_cache.snapshot.turns import Turns
from tests.unit.core.clock import ManualClock
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory, Store
from tests.unit.core.warm import keep, new_cache, snapshot_of

BASE = Checkpoint(1, 7, "a-1-1", {"a": 1})
OPTIONS = EffectiveOptions(ttl_seconds=10, fail_safe_seconds=20)


class Parts:
    """L1 and its snapshot, without a cache around them."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.scopes = Scopes(clock, lambda: None)
        self.snapshot = Snapshot(folder / "l1", 1.0, self.scopes, MsgpackSerializer(), OPTIONS, clock)

    def put(self, key: str, value: Any) -> None:
        """Keep a value for 10 seconds, and 20 more as a stale one."""
        now = self.clock.monotonic()
        store = self.scopes.get("s", OPTIONS).store
        store.put(key, value, None, now + 10, now + 30, (1, 1), now)  # type: ignore[arg-type]

    async def served(self) -> dict[str, Any]:
        """What L1 holds after a start."""
        base = await self.snapshot.restore()
        assert (base is None) == (self.scopes.staged is None)
        self.scopes.attach((1, 9))  # type: ignore[arg-type]
        self.snapshot.let_go()
        return {key: entry.value for scope in self.scopes for key, entry in scope.store.entries.items()}


async def written(folder: Path, clock: ManualClock, **values: Any) -> Path:
    """The file of a snapshot with these values."""
    parts = Parts(folder, clock)
    assert await parts.served() == {}
    await parts.snapshot.restore()
    for key, value in values.items():
        parts.put(key, value)
    await parts.snapshot.write(BASE)
    assert parts.snapshot.written == 1
    parts.snapshot.let_go()
    return folder / "l1.0"


async def cold(folder: Path, clock: ManualClock) -> str:
    """Start on what is in the folder; why nothing of it is used."""
    parts = Parts(folder, clock)
    assert await parts.served() == {}
    assert parts.snapshot.thrown_away == 1
    assert parts.snapshot.last_thrown_away is not None
    return parts.snapshot.last_thrown_away


def test_a_file_with_any_byte_changed_is_a_cold_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        file = await written(tmp_path, clock, a="x", b=[1, {"c": 2}])
        whole = file.read_bytes()
        assert await Parts(tmp_path, clock).served() == {"a": "x", "b": [1, {"c": 2}]}
        rng = random.Random(1)
        for index in range(len(whole)):
            for change in (1, 0x80, rng.randrange(1, 256)):
                file.write_bytes(whole[:index] + bytes([whole[index] ^ change]) + whole[index + 1 :])
                assert await cold(tmp_path, clock) in ("damaged", "not a snapshot of this format")

    asyncio.run(scenario())


def test_a_file_of_any_other_length_is_a_cold_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        file = await written(tmp_path, clock, a="x", b=[1, {"c": 2}])
        whole = file.read_bytes()
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            assert await cold(tmp_path, clock) in ("damaged", "not a snapshot of this format")
        for more in (b"\0", bytes(20), whole):
            file.write_bytes(whole + more)
            assert await cold(tmp_path, clock) == "damaged"

    asyncio.run(scenario())


def test_frames_out_of_place_are_a_cold_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        file = await written(tmp_path, clock, **{str(n): "x" * 40_000 for n in range(6)})
        whole = file.read_bytes()
        frames, at = [], 8
        while at < len(whole):
            end = at + 20 + int.from_bytes(whole[at : at + 4])
            frames.append(whole[at:end])
            at = end
        assert len(frames) == 5  # header, three chunks, end
        header, one, two, three, end_ = frames
        for order in ([one, two], [two, one, three], [one, one, two, three], [one, three], []):
            file.write_bytes(whole[:8] + b"".join([header, *order, end_]))
            assert await cold(tmp_path, clock) == "damaged"

    asyncio.run(scenario())


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x93\xa1s\xc4\x01x\x91\x01"])
def test_frames_that_check_out_and_hold_something_else_are_a_cold_start(tmp_path: Path, body: bytes) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        file = await written(tmp_path, clock, a=1)
        header = file.read_bytes()[28 : 28 + int.from_bytes(file.read_bytes()[8:12])]
        for frames in ([body], [header, body] if body else [b"x"]):
            writer = FrameWriter(file, file.with_suffix(".new"))
            writer.open()
            for frame in frames:
                writer.write(frame)
            writer.commit()
            await cold(tmp_path, clock)

    asyncio.run(scenario())


def test_another_release_is_a_cold_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        await written(tmp_path, clock, a=1)
        monkeypatch.setattr("async_hybrid_cache.snapshot.reading.library_version", lambda: "0.0.9")
        assert await cold(tmp_path, clock) == "written by another release"

    asyncio.run(scenario())


def test_ttls_go_on_counting_over_the_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        await written(tmp_path, clock, a=1)
        clock.advance(4)
        parts = Parts(tmp_path, clock)
        await parts.served()
        entry = parts.scopes.get("s", OPTIONS).store.entries["a"]
        assert entry.expires_at - clock.now == pytest.approx(6)
        assert entry.stale_until - clock.now == pytest.approx(26)
        clock.advance(26)
        parts = Parts(tmp_path, clock)
        assert await parts.served() == {}
        assert parts.snapshot.dropped == 1

    asyncio.run(scenario())


class TwoClocks(ManualClock):
    """Wall and monotonic clock, moved apart."""

    wall = 5000.0

    def time_ns(self) -> int:
        return int(self.wall * 1e9)


@pytest.mark.parametrize(
    ("wall", "monotonic", "reboot", "left"),
    [
        (4, 4, False, 6),
        (-3, 4, False, 6),  # the wall clock was set back: the host's monotonic one knows better
        (1, 4, False, 6),
        (7, 4, False, 3),  # asleep meanwhile, or set forward: rather too old than too young
        (4, -900, True, 6),
        (4, 3000, True, 6),  # of another boot, a monotonic clock tells nothing
        (-3, 100, True, None),
    ],
)
def test_no_clock_prolongs_a_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wall: float, monotonic: float, reboot: bool, left: float | None
) -> None:
    async def scenario() -> None:
        clock = TwoClocks()
        await written(tmp_path, clock, a=1)
        clock.wall += wall
        clock.now += monotonic
        if reboot:
            monkeypatch.setattr(records, "boot", lambda: "another")
        if left is None:
            assert await cold(tmp_path, clock) == "the clock went back"
            return
        parts = Parts(tmp_path, clock)
        assert await parts.served() == {"a": 1}
        assert parts.scopes.get("s", OPTIONS).store.entries["a"].expires_at - clock.now == pytest.approx(left)

    asyncio.run(scenario())


def test_values_that_nothing_can_serialise_are_left_out_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        parts = Parts(tmp_path, clock)
        await parts.snapshot.restore()
        parts.put("a", 1)
        parts.put("b", object())
        parts.put("c", float)
        await parts.snapshot.write(BASE)
        parts.snapshot.let_go()
        assert (parts.snapshot.last.entries, parts.snapshot.last.left_out) == (1, 2)
        assert await Parts(tmp_path, clock).served() == {"a": 1}

    asyncio.run(scenario())


def test_the_order_of_eviction_is_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        for _ in range(3):  # over several restarts
            parts = Parts(tmp_path, clock)
            await parts.served()
            await parts.snapshot.restore()
            for key in "abcd":
                parts.put(key, key)
            store = parts.scopes.get("s", OPTIONS).store
            store.entries["a"].used = store.tick()
            await parts.snapshot.write(BASE)
            parts.snapshot.let_go()
        parts = Parts(tmp_path, clock)
        await parts.served()
        parts.put("new", 1)
        store = parts.scopes.get("s", OPTIONS).store
        kept = []
        for size in (4, 3, 2, 1):
            store.resize(size)
            kept.append("".join(store.entries))
        assert kept == ["acdnew", "adnew", "anew", "new"]

    asyncio.run(scenario())


def test_a_smaller_store_takes_what_was_used_last(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        await written(tmp_path, clock, **{str(number): number for number in range(3000)})
        parts = Parts(tmp_path, clock)
        parts.scopes.get("s", OPTIONS).bound(2)
        assert await parts.served() == {"2998": 2998, "2999": 2999}

    asyncio.run(scenario())


def struct(name: str, fields: list[Any]) -> Any:
    return msgspec.defstruct(name, fields, module="app")


@pytest.mark.parametrize(
    "changed",
    [
        struct("User", [("id", int), ("rank", int, 0)]),  # would be read, with a value that nobody stored
        struct("User", [("id", float)]),  # would be read, as another type
        struct("Person", [("id", int)]),
        struct("User", [("number", int)]),
    ],
)
def test_a_type_that_has_changed_is_not_read(tmp_path: Path, changed: Any) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog(f"type-{changed.__name__}-{changed.__struct_fields__}-{changed.__annotations__}")

        async def served(kind: Any, value: Any) -> tuple[Any, int]:
            async def load() -> Any:
                return value

            load.__annotations__["return"] = kind
            cache = new_cache(log, tmp_path)
            cached = cache.cached("k", scope="s")(load)
            async with cache:
                return await cached(), snapshot_of(cache).dropped

        user = struct("User", [("id", int)])
        same = struct("User", [("id", int)])
        assert await served(user, user(1)) == (user(1), 0)
        assert await served(same, same(2)) == (same(1), 0)
        assert await served(changed, "loaded") == ("loaded", 1)

    asyncio.run(scenario())


def test_another_serializer_reads_nothing_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        def log() -> ScriptedLog:
            return ScriptedLog("serializers")

        async with new_cache(log, tmp_path, distributed_cache=SharedMemory(Store())) as cache:
            await keep(cache, "k", {1, 2})
        async with new_cache(log, tmp_path, distributed_cache=SharedMemory(Store())) as cache:
            assert await cache.get("k") == {1, 2}
        async with new_cache(log, tmp_path) as cache:
            assert await cache.get("k") is None
            assert snapshot_of(cache).dropped == 1

    asyncio.run(scenario())


def test_what_is_dropped_during_the_scan_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        parts = Parts(tmp_path, BusyClock())
        await parts.snapshot.restore()
        for number in range(1000):
            parts.put(str(number), number)
        rest = Turns.rest

        async def busy(turns: Turns) -> None:
            parts.scopes.fence_keys("s", list(parts.scopes.get("s", OPTIONS).store.entries)[-10:])
            await rest(turns)

        monkeypatch.setattr(Turns, "rest", busy)
        await parts.snapshot.write(BASE)
        monkeypatch.undo()
        parts.snapshot.let_go()
        assert 0 < parts.snapshot.last.entries < 1000
        found = await Parts(tmp_path, BusyClock(parts.clock.now)).served()
        assert found == {str(number): number for number in range(parts.snapshot.last.entries)}

    asyncio.run(scenario())


def test_too_much_dropped_while_it_is_read_is_a_cold_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        await written(tmp_path, clock, a=1, b=2)
        monkeypatch.setattr("async_hybrid_cache.snapshot.staged._MAX_REFUSED", 3)
        parts = Parts(tmp_path, clock)
        read = snapshot_module.read_snapshot

        async def reading(*arguments: Any) -> Any:
            parts.scopes.fence_keys("s", ("w", "x", "y", "z"))
            return await read(*arguments)

        monkeypatch.setattr(snapshot_module, "read_snapshot", reading)
        assert await parts.served() == {}

    asyncio.run(scenario())


class BusyClock(ManualClock):
    """On which everything takes time."""

    def monotonic(self) -> float:
        self.now += 0.0001
        return self.now


def test_reading_and_writing_leave_the_loop_to_others(tmp_path: Path) -> None:
    async def turns(work: Coroutine[Any, Any, Any]) -> int:
        task = asyncio.create_task(work)
        count = 0
        while not task.done():
            await asyncio.sleep(0)
            count += 1
        await task
        return count

    async def scenario() -> None:
        def in_place(call: Callable[[], Any]) -> Awaitable[Any]:
            async def done() -> Any:
                return call()

            return done()

        with pytest.MonkeyPatch.context() as patch:
            for module in ("reading", "writing", "snapshot"):
                patch.setattr(f"async_hybrid_cache.snapshot.{module}.in_thread", in_place)
            parts = Parts(tmp_path, BusyClock())
            await parts.snapshot.restore()
            for number in range(1000):
                parts.put(str(number), number)
            assert 50 < await turns(parts.snapshot.write(BASE)) < 1000
            parts.snapshot.let_go()
            assert 50 < await turns(Parts(tmp_path, BusyClock(parts.clock.now)).snapshot.restore()) < 1000

    asyncio.run(scenario())
