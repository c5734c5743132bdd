"""A journal's file: claimed by one process, appended to, replaced as a whole, removed. All of it blocks."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from .records import Content, read

__all__ = ["Slot", "claim_left", "claim_own"]

logger = logging.getLogger("async_hybrid_cache")

_MAX_SLOTS = 1024
_READABLE = 80


class Slot:
    """The file of one process, from its claim to `release`; the lock ends with the process as well."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.size = 0
        self._lock: int | None = lock
        self._file: int | None = None
        self._fresh = path.with_suffix(".new")

    @classmethod
    def claim(cls, path: Path) -> Slot | None:
        """The slot whose file is `path`; None where a process that lives has it."""
        lock = _lock(_lock_of(path))
        return None if lock is None else cls(path, lock)

    def read(self) -> Content:
        """What an earlier process left."""
        try:
            return read(self.path.read_bytes())
        except FileNotFoundError:
            return read(b"")

    def append(self, data: bytes, *, sync: bool) -> None:
        """Write behind what is there; on disk when it returns, if `sync`."""
        assert self._file is not None
        _write(self._file, data)
        self.size += len(data)
        if sync:
            os.fsync(self._file)

    def replace(self, data: bytes) -> None:
        """Make `data` all that the file holds, at once and on disk."""
        file = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, data)
            os.fsync(file)
            os.replace(self._fresh, self.path)
            _sync_folder(self.path.parent)
        except BaseException:
            os.close(file)
            raise
        if self._file is not None:
            os.close(self._file)
        self._file, self.size = file, len(data)

    def remove(self) -> None:
        """Nothing in it is needed any more."""
        for path in (self.path, self._fresh, _lock_of(self.path)):
            path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let another process have it. In the child of a fork this leaves it to the parent."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None


def claim_own(folder: Path, name: str, log: str) -> tuple[Slot, Content]:
    """A slot under `name`, with what an earlier process of that name left in it; one for another log is left alone."""
    encoded = name.encode("utf-8", "surrogatepass")
    stem = f"{quote(encoded, safe='')[:_READABLE]}-{hashlib.blake2b(encoded, digest_size=8).hexdigest()}"
    for number in range(_MAX_SLOTS):
        found = _claim(folder / f"{stem}.{number}.journal", log)
        if found is not None:
            return found
    raise OSError(f"all {_MAX_SLOTS} slots are taken")


def claim_left(folder: Path, log: str) -> Iterator[tuple[Slot, Content]]:
    """What processes of any name left there for `log`, and nobody has."""
    for path in sorted(folder.glob("*.journal")):
        found = _claim(path, log)
        if found is not None:
            yield found


def _claim(path: Path, log: str) -> tuple[Slot, Content] | None:
    slot = Slot.claim(path)
    if slot is None:
        return None
    try:
        content = slot.read()
    except BaseException:
        slot.release()
        raise
    if content.log not in (None, log):
        logger.warning("the outbox in %s is for %s, not for %s, and is left alone", path, content.log, log)
        slot.release()
        return None
    if content.damaged:
        logger.warning("the outbox in %s is damaged: everything counts as removed", path)
    return slot, content


def _lock_of(path: Path) -> Path:
    # not the file itself, which is replaced
    return path.with_suffix(".lock")


def _lock(path: Path) -> int | None:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_ino == os.stat(path).st_ino:
                return lock
        except BlockingIOError:
            os.close(lock)
            return None
        except FileNotFoundError:
            pass  # removed by its last owner between the two calls
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
