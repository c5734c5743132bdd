"""The journal: what was noted is on disk, one process has a file, and a disk that fails costs no more than the disk."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache.errors import EncodeError, OutboxError
from async_hybrid_cache.journal import Journal, Recovered, slot
from async_hybrid_cache.journal.records import read
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved
from async_hybrid_cache_codecs.frames import SealedFrame, seal


def removed(key: object) -> KeysRemoved:
    return KeysRemoved("scope", (str(key),))


def frame(*events: Event, first: int = 1) -> SealedFrame:
    return seal(1, "origin", first, 0, events)


class Disk:
    """A folder, the journals in it, and what they said of their troubles."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.troubles: list[OutboxError | None] = []

    def journal(self, log: str = "Log()", seconds: float = 5.0) -> Journal:
        return Journal(str(self.folder), log, seconds=seconds, on_change=self.troubles.append)

    async def opened(self, instance: str = "web") -> tuple[Journal, Recovered]:
        journal = self.journal()
        return journal, await journal.open(instance)

    def kill(self, journal: Journal) -> None:
        """What the end of its process does: descriptors are closed, and nothing else happens."""
        assert journal._slot is not None
        journal._slot.release()

    @property
    def files(self) -> set[str]:
        return {path.suffix for path in self.folder.iterdir()}

    def held(self) -> list[Event]:
        """What the files hold now."""
        return [event for path in sorted(self.folder.glob("*.journal")) for event in read(path.read_bytes()).events]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "outbox")


def left_by(recovered: Recovered) -> list[Event]:
    return [event for _, event in recovered.events]


def test_what_was_noted_and_sealed_outlives_the_process(disk: Disk) -> None:
    async def scenario() -> None:
        first, recovered = await disk.opened()
        assert recovered == ([], [])
        one, two, three = (first.note(removed(number)) for number in (1, 2, 3))
        first.seal(frame(removed(1)), (one,))
        first.close([three])
        await first.kept()
        disk.kill(first)
        second, recovered = await disk.opened()
        assert left_by(recovered) == [removed(2)]
        assert recovered.frames == [frame(removed(1))]
        assert recovered.events[0][0] != two or second is not first
        second.acknowledged(frame(removed(1)).id)
        second.close([recovered.events[0][0]])
        assert await second.end()
        assert list(disk.folder.iterdir()) == []

    asyncio.run(scenario())


def test_kept_returns_after_the_sync_and_many_share_one(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def syncing(file: int) -> None:
        synced.append(file)
        real(file)

    real = os.fsync

    async def scenario() -> None:
        journal, _ = await disk.opened()
        monkeypatch.setattr(slot.os, "fsync", syncing)

        async def note(number: int) -> None:
            journal.note(removed(number))
            await journal.kept()
            assert removed(number) in disk.held()

        await asyncio.gather(*map(note, range(200)))
        assert 1 <= len(synced) <= 3
        # acknowledgements are written, and nobody waits for them
        synced.clear()
        journal.close(range(1, 201))
        await eventually(lambda: disk.held() == [])
        assert synced == []
        await journal.end()

    asyncio.run(scenario())


def test_what_was_noted_before_the_start_is_written_by_it(disk: Disk) -> None:
    async def scenario() -> None:
        journal = disk.journal()
        journal.note(removed(1))
        await journal.kept()
        await journal.open("web")
        assert disk.held() == [removed(1)]
        assert await journal.end()
        assert disk.held() == [removed(1)]

    asyncio.run(scenario())


def test_processes_of_one_name_have_a_file_each(disk: Disk) -> None:
    async def scenario() -> None:
        journals = [(await disk.opened())[0] for _ in range(4)]
        for number, journal in enumerate(journals):
            journal.note(removed(number))
            await journal.kept()
        assert len(list(disk.folder.glob("*.journal"))) == 4
        assert sorted(map(repr, disk.held())) == [repr(removed(number)) for number in range(4)]
        for journal in journals:
            await journal.end()

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["web", "another", "", "a/../b", "\ud800"])
def test_what_ended_processes_left_is_taken_over_by_the_next_start_of_any(disk: Disk, name: str) -> None:
    async def scenario() -> None:
        journals = [(await disk.opened())[0] for _ in range(3)]
        for number, journal in enumerate(journals):
            journal.note(removed(number))
            journal.seal(frame(removed(number), first=number + 1), ())
            await journal.kept()
        disk.kill(journals[0])
        disk.kill(journals[2])
        heir, recovered = await disk.opened(name)
        assert sorted(map(repr, left_by(recovered))) == [repr(removed(0)), repr(removed(2))]
        assert {one.first for one in recovered.frames} == {1, 3}
        # each of them once
        other, nothing = await disk.opened(name)
        assert nothing == ([], [])
        for journal in (other, journals[1], heir):
            await journal.end()
        assert len(disk.held()) == 3

    asyncio.run(scenario())


def test_what_waits_for_another_log_is_left_alone(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        first, _ = await disk.opened()
        first.note(removed(1))
        await first.end()
        stranger = disk.journal("AnotherLog()")
        assert await stranger.open("web") == ([], [])
        assert "is for Log(), not for AnotherLog()" in caplog.text
        await stranger.end()
        _, recovered = second = await disk.opened()
        assert left_by(recovered) == [removed(1)]
        await second[0].end()

    asyncio.run(scenario())


def test_the_file_is_bounded_by_what_waits(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_hybrid_cache.journal.journal._REWRITE_BYTES", 10_000)

    async def scenario() -> None:
        journal, _ = await disk.opened()
        stays = journal.note(removed("stays"))
        sizes = []
        for number in range(2_000):
            note = journal.note(removed(number))
            if number % 20 == 0:
                await journal.kept()
                sizes.append(sum(path.stat().st_size for path in disk.folder.iterdir()))
            journal.close([note])
        await journal.kept()
        assert len(sizes) == 100
        assert max(sizes) < 20_000
        assert removed("stays") in disk.held()
        journal.close([stays])
        await journal.end()

    asyncio.run(scenario())


def failing_after(count: int, code: int) -> Callable[[int, Any], int]:
    """A `write` that takes `count` bytes more, of its last call a part only, as a full disk does."""
    real = os.write
    room = count

    def write(file: int, data: Any) -> int:
        nonlocal room
        if room == 0:
            raise OSError(code, os.strerror(code))
        taken = real(file, bytes(data)[:room])
        room -= taken
        return taken

    return write


@pytest.mark.parametrize("room", [0, 1, 30, 100])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_is_told_and_overcome(disk: Disk, monkeypatch: pytest.MonkeyPatch, room: int, code: int) -> None:
    monkeypatch.setattr("async_hybrid_cache.journal.journal._RETRY_SECONDS", 0.01)

    async def scenario() -> None:
        journal, _ = await disk.opened()
        before = journal.note(removed("before"))
        await journal.kept()
        with monkeypatch.context() as full:
            full.setattr(slot.os, "write", failing_after(room, code))
            journal.note(removed(1))
            journal.note(removed(2))
            await journal.kept()
            journal.close([before])
            journal.note(removed(3))
            await journal.kept()
            assert journal.broken is not None
            assert os.strerror(code) in str(journal.broken)
            assert str(disk.folder) in str(journal.broken)
            assert journal.errors >= 1
            # what was kept before is still there
            assert removed("before") in disk.held()
        await eventually(lambda: journal.broken is None)
        assert disk.held() == [removed(1), removed(2), removed(3)]
        assert disk.troubles[-1] is None
        await journal.end()

    asyncio.run(scenario())


def test_a_sync_that_fails_is_not_trusted_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("async_hybrid_cache.journal.journal._RETRY_SECONDS", 0.01)
    failures = [OSError(errno.EIO, "failed")]
    real = os.fsync

    def syncing(file: int) -> None:
        if failures:
            raise failures.pop()
        real(file)

    async def scenario() -> None:
        journal, _ = await disk.opened()
        (path,) = disk.folder.glob("*.journal")
        inode = path.stat().st_ino
        monkeypatch.setattr(slot.os, "fsync", syncing)
        journal.note(removed(1))
        await journal.kept()
        await eventually(lambda: journal.broken is None)
        assert path.stat().st_ino != inode  # pages that could not be written may be gone; all is written anew
        assert disk.held() == [removed(1)]
        await journal.end()

    asyncio.run(scenario())


def test_a_disk_that_does_not_answer_holds_nobody_up(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        answer = asyncio.Event()
        loop = asyncio.get_running_loop()
        real = os.fsync

        def syncing(file: int) -> None:
            asyncio.run_coroutine_threadsafe(answer.wait(), loop).result()
            real(file)

        journal = disk.journal(seconds=0.05)
        await journal.open("web")
        monkeypatch.setattr(slot.os, "fsync", syncing)
        journal.note(removed(1))
        await asyncio.wait_for(journal.kept(), 2)
        assert "no answer within 0.05 s" in str(journal.broken)
        await asyncio.wait_for(journal.kept(), 0.04)
        answer.set()
        await eventually(lambda: journal.broken is None)
        await journal.end()

    asyncio.run(scenario())


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def scenario() -> None:
        journal = Disk(tmp_path / "file").journal()
        with pytest.raises(OutboxError, match=r"the outbox cannot be kept in .*file: (Not a directory|File exists)"):
            await journal.open("web")
        assert not await journal.end()

    asyncio.run(scenario())


def test_a_disk_that_is_full_at_the_start_is_an_error_and_leaves_the_rest_to_others(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        first, _ = await disk.opened()
        first.note(removed(1))
        await first.kept()
        disk.kill(first)
        with monkeypatch.context() as full:
            full.setattr(slot.os, "write", failing_after(0, errno.ENOSPC))
            with pytest.raises(OutboxError, match="No space left on device"):
                await disk.journal().open("another")
        heir, recovered = await disk.opened("another")
        assert left_by(recovered) == [removed(1)]
        await heir.end()

    asyncio.run(scenario())


def test_a_damaged_file_counts_as_everything(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        first, _ = await disk.opened()
        first.note(removed(1))
        first.note(removed(2))
        await first.kept()
        disk.kill(first)
        (path,) = disk.folder.glob("*.journal")
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        second, recovered = await disk.opened()
        assert left_by(recovered) == [removed(1), CacheCleared()]
        assert "is damaged" in caplog.text
        await second.end()

    asyncio.run(scenario())


def test_a_lock_file_that_its_last_owner_removes_is_made_anew(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.folder.mkdir()
    path = disk.folder / "web.0.journal"
    lock = path.with_suffix(".lock")
    real = fcntl.flock

    def locking(file: int, operation: int) -> None:
        monkeypatch.undo()
        lock.unlink()
        real(file, operation)

    monkeypatch.setattr(slot.fcntl, "flock", locking)
    first = slot.Slot.claim(path)
    assert first is not None
    assert slot.Slot.claim(path) is None
    first.release()


def test_an_event_that_cannot_be_written_spoils_nothing(disk: Disk) -> None:
    async def scenario() -> None:
        journal, _ = await disk.opened()
        with pytest.raises(EncodeError, match="cannot hold"):
            journal.note(removed("\ud800"))
        journal.note(removed(1))
        await journal.end()
        assert disk.held() == [removed(1)]

    asyncio.run(scenario())


def test_a_start_that_is_cancelled_gives_its_file_back(disk: Disk) -> None:
    async def scenario() -> None:
        first, _ = await disk.opened()
        first.note(removed(1))
        await first.end()
        cancelled = disk.journal()
        task = asyncio.create_task(cancelled.open("web"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cancelled.end()
        second, recovered = await disk.opened()
        assert left_by(recovered) == [removed(1)]
        await second.end()

    asyncio.run(scenario())


def test_a_loop_that_ended_leaves_all_to_the_next(disk: Disk) -> None:
    journal = disk.journal()

    async def before() -> None:
        await journal.open("web")
        journal.note(removed(1))

    async def after() -> None:
        assert journal.end_now()
        assert left_by(await journal.open("web")) == [removed(1)]
        await journal.end()

    asyncio.run(before())
    asyncio.run(after())


# what Python 3.12 warns of is the subject here
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_the_file_to_its_parent(disk: Disk) -> None:
    async def scenario() -> None:
        journal, _ = await disk.opened()
        journal.note(removed(1))
        await journal.kept()
        if (child := os.fork()) == 0:
            journal.forked()
            os._exit(0)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        other, recovered = await disk.opened()
        assert recovered == ([], [])  # the lock is still the parent's
        journal.note(removed(2))
        await journal.kept()
        assert disk.held() == [removed(1), removed(2)]
        for one in (journal, other):
            await one.end()

    asyncio.run(scenario())
