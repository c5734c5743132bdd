"""One file a process: slots of a path, claimed with a lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from .frames import SnapshotUnusable

__all__ = ["FileSlot"]

_MAX_SLOTS = 1024


class FileSlot:
    """The file `<path>.<number>`, of this process alone until `release`, or until the process ends."""

    def __init__(self, path: Path, number: int, descriptor: int) -> None:
        self.file = _named(path, f"{number}")
        self.fresh = _named(path, f"{number}.new")
        self._descriptor: int | None = descriptor

    @classmethod
    def claim(cls, path: Path) -> FileSlot:
        """The first free slot that has a file, else the first free one. Waits for nobody."""
        path.parent.mkdir(parents=True, exist_ok=True)
        spare: FileSlot | None = None
        for number in range(_MAX_SLOTS):
            lock = _named(path, f"{number}.lock")
            if spare is not None and not lock.exists():
                break
            descriptor = _locked(lock)
            if descriptor is None:
                continue
            slot = cls(path, number, descriptor)
            if spare is None:
                spare = slot
            elif slot.file.exists():
                spare.release()
                spare = slot
            else:
                slot.release()
            if spare.file.exists():
                break
        if spare is None:
            raise SnapshotUnusable(f"all {_MAX_SLOTS} slots of {path} are taken")
        return spare

    def release(self) -> None:
        """Let another process have it. In a forked child this lets go of the child's handle alone."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _locked(lock: Path) -> int | None:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def _named(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")
