"""What the readers of an SQLite log leave behind, however they end: nothing for ever."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from pathlib import Path

import pytest

from async_hybrid_cache_brokers.sqlite.wake import WakeReceiver, WakeSender, wake_folder


def new_folder() -> Path:
    """The temporary one of a file whose path is too long for a socket beside it."""
    return Path(wake_folder(f"/{'x' * 120}/{uuid.uuid4()}"))


def bound(address: Path) -> socket.socket:
    """A reader's socket."""
    address.parent.mkdir(exist_ok=True)
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind(str(address))
    return reader


async def opened(folder: Path) -> WakeReceiver:
    receiver = WakeReceiver(str(folder))
    receiver.open()
    return receiver


async def is_woken(receiver: WakeReceiver, folder: Path) -> bool:
    seen = receiver.count
    sender = WakeSender(str(folder))
    sender.wake()
    sender.close()
    await receiver.wait(seen, 10)
    return receiver.count != seen


def test_the_last_reader_takes_the_folder_away() -> None:
    async def main() -> None:
        folder = new_folder()
        one, other = await opened(folder), await opened(folder)
        one.close()
        assert await is_woken(other, folder)
        other.close()
        assert not folder.exists()
        again = await opened(folder)
        assert await is_woken(again, folder)
        again.close()

    asyncio.run(main())


def test_a_folder_that_is_taken_away_just_now_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        folder = new_folder()
        made: list[str] = []
        mkdir = os.mkdir

        def make_once_in_vain(path: str) -> None:
            mkdir(path)
            made.append(path)
            if len(made) == 1:
                os.rmdir(path)

        with monkeypatch.context() as patched:
            patched.setattr(os, "mkdir", make_once_in_vain)
            receiver = await opened(folder)
        assert len(made) == 2
        assert await is_woken(receiver, folder)
        receiver.close()

    asyncio.run(main())


def test_what_killed_readers_left_for_other_files_goes_and_what_lives_stays() -> None:
    async def main() -> None:
        dead, live, folder = new_folder(), new_folder(), new_folder()
        bound(dead / "1-a.sock").close()
        bound(live / "1-b.sock").close()
        with bound(live / "2-c.sock"):
            receiver = await opened(folder)
            assert not dead.exists()
            assert [path.name for path in live.iterdir()] == ["2-c.sock"]
            assert await is_woken(receiver, folder)
            receiver.close()
        (live / "2-c.sock").unlink()
        live.rmdir()

    asyncio.run(main())


def test_a_link_in_the_temporary_folder_is_not_followed(tmp_path: Path) -> None:
    async def main() -> None:
        precious = tmp_path / "precious"
        precious.write_text("kept")
        link = new_folder()
        link.symlink_to(tmp_path)
        receiver = await opened(new_folder())
        receiver.close()
        link.unlink()
        assert precious.read_text() == "kept"

    asyncio.run(main())
