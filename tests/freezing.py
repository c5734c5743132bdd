"""SIGSTOP for a process that others share files with."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psutil

from async_hybrid_cache.testing.waiting import eventually

__all__ = ["freeze"]

_ATTEMPTS = 100


async def freeze(process: asyncio.subprocess.Process, *locks: str) -> None:
    """Stop `process`, and wait until it stands still; not while it keeps others from writing by one of `locks`.

    `POSIX` is how SQLite locks its file, `FLOCK` is `flock`: who is frozen in a transaction stops all the others.
    """
    seen = psutil.Process(process.pid)
    for _ in range(_ATTEMPTS):
        process.send_signal(signal.SIGSTOP)
        await eventually(lambda: seen.status() == psutil.STATUS_STOPPED)
        if not _locks(process.pid, locks):
            return
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.01)  # for it to go on
    raise AssertionError("the process was found in a transaction whenever it was stopped")


def _locks(pid: int, kinds: tuple[str, ...]) -> bool:
    held = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any(kind in kinds and mode == "WRITE" and int(owner) == pid for _, kind, _, mode, owner, *_ in held)
