"""Worker processes are killed at any moment; the others go on, and who comes back has missed nothing."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from time import monotonic

from async_hybrid_cache.filecheckpoint import FileCheckpointStore
from async_hybrid_cache.ownership import StoreUse, slot_name
from async_hybrid_cache.ownership.document import Document
from async_hybrid_cache.positions import Position
from async_hybrid_cache.stream.keeper import decode_checkpoint
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import InstanceStarted, KeysRemoved
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, gaps, member, stream_of, write_all
from tests.faults.places import Place, SqlitePlace, read_frames
from tests.faults.process import Process

KEYS = [f"key-{i}" for i in range(25)]
KILLS = 20


async def kept_position(folder: Path) -> Position | None:
    """Where the worker's checkpoint in `folder` stands."""
    use = StoreUse(FileCheckpointStore(folder), 1.0)
    body = await Document(use, f"{slot_name('stream', 'worker')}/0", "reader").load()
    await use.close()
    checkpoint = decode_checkpoint(body) if body is not None else None
    return Position(checkpoint.epoch, checkpoint.offset) if checkpoint else None


@promise(1, fault="process killed")
def test_writers_killed_in_the_middle_leave_a_dense_log_and_live_survivors(
    sqlite_place: SqlitePlace, database: Database, figures: dict[str, list[float]]
) -> None:
    rng = random.Random(20)
    acknowledged: list[str] = []

    async def hammer(number: int) -> None:
        async with Process(database, sqlite_place.url, sqlite_place.namespace) as victim:
            await victim.hammer(f"victim-{number}")
            acknowledged.extend([await victim.answer() for _ in range(rng.randrange(1, 40))])
            await asyncio.sleep(rng.random() * 0.01)
            await victim.kill()

    async def main() -> None:
        async with (
            member(sqlite_place, database) as one,
            Process(database, sqlite_place.url, sqlite_place.namespace) as other,
        ):
            await one.browse(KEYS)
            await other.browse(KEYS)
            for number in range(0, KILLS, 2):
                await asyncio.gather(hammer(number), hammer(number + 1))
                killed = monotonic()
                assert not (await one.write(KEYS[number])).queued
                assert not (await other.write(KEYS[number + 1])).queued
                figures["SQLite: others killed"].append(await fresh_everywhere(database, [one, other], KEYS, killed))
            for instance in (one, other):
                browsed = await instance.rest()
                assert browsed.errors == []
                assert browsed.reads > 100
            removed = {
                key
                for _, frame in await read_frames(sqlite_place)
                for event in frame.events
                if isinstance(event, KeysRemoved)
                for key in event.keys
            }
            assert len(acknowledged) > KILLS
            assert removed.issuperset(acknowledged)
            assert await gaps([one, other]) == [0, 0]
            for instance in (one, other):
                stream = stream_of(await instance.stats())
                assert stream.down_seconds is None
                assert stream.outbox == 0

    asyncio.run(main())


@promise(1, fault="process killed")
@promise(5, fault="process killed")
@promise(7, fault="process killed")
def test_a_restarted_process_replays_exactly_what_it_missed(place: Place, database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"

    async def main() -> None:
        async with member(place, database) as writer:
            for turn, missed in enumerate((0, 1, 40), 1):
                async with Process(database, place.url, place.namespace, "worker", str(folder)) as worker:
                    await write_all(writer, KEYS)
                    await fresh_everywhere(database, [writer, worker], KEYS, monotonic())
                    head = stream_of(await writer.stats()).position
                    await eventually(lambda head=head: kept(head), timeout=5.0, message="no checkpoint")
                    await worker.kill()
                for number in range(missed):
                    await writer.write(KEYS[number % len(KEYS)])
                checkpoint = await kept_position(folder)
                assert checkpoint is not None
                async with Process(database, place.url, place.namespace, "worker", str(folder)) as worker:
                    started = [
                        position
                        for position, frame in await read_frames(place)
                        if any(
                            isinstance(event, InstanceStarted) and event.instance == "worker" for event in frame.events
                        )
                    ]
                    stream = stream_of(await worker.stats())
                    assert stream.events_replayed == started[-1].offset - checkpoint.offset - 1
                    assert missed <= stream.events_replayed <= missed + 3  # heartbeats
                    assert stream.gap_total == 0
                    assert await worker.read_all(KEYS) == database.read_all(KEYS)
                assert len(started) == 2 * turn

    async def kept(head: str) -> bool:
        position = await kept_position(folder)
        return position is not None and position >= Position.parse(head)

    asyncio.run(main())


@promise(7, fault="log deleted")
def test_a_checkpoint_whose_log_is_gone_is_thrown_away(place: Place, database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    arguments = place.url, place.namespace, "worker", str(folder)

    async def kept() -> bool:
        return await kept_position(folder) is not None

    async def main() -> None:
        async with member(place, database) as writer:
            await writer.write("key")
            async with Process(database, *arguments) as worker:
                await fresh_everywhere(database, [writer, worker], ["key"], monotonic())
                await eventually(kept, timeout=5.0, message="no checkpoint")
                await worker.kill()
            await place.delete()
            await writer.write("key")
            async with Process(database, *arguments) as worker:
                stream = stream_of(await worker.stats())
                assert stream.gap_total == 1
                assert stream.events_replayed == 0
                await fresh_everywhere(database, [writer, worker], ["key"], monotonic())
                await writer.write("key")
                await fresh_everywhere(database, [writer, worker], ["key"], monotonic())

    asyncio.run(main())
