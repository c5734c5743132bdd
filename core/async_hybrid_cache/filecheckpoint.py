"""Checkpoints as files, written atomically."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from .checkpoint import Kept
from .errors import CheckpointConflict, CheckpointError
from .validation import folder as checked_folder

__all__ = ["FileCheckpointStore"]

logger = logging.getLogger("async_hybrid_cache")

_DIGEST_BYTES = 16
_VERSION_BYTES = 8
_LOCK_SECONDS = 1.0
_LOCK_POLL_SECONDS = 0.005
_READABLE = 80


class FileCheckpointStore:
    """Keeps each document in a file of its own in `folder`, on a local disk; for the processes of one host.

    A write is checksummed, synced and renamed into place, and the folder is synced too. A file that does not check
    out counts as none; `damaged` counts those, and each is logged.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(checked_folder("folder", folder))
        self.damaged = 0

    def __repr__(self) -> str:
        return f"FileCheckpointStore({str(self._folder)!r})"

    async def open(self) -> None:
        """Make the folder where there is none."""
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Nothing is held between two calls."""

    async def load(self, name: str) -> Kept | None:
        """The document under `name`; None where there is none, or its file is damaged."""
        return await asyncio.to_thread(self._load, _Paths.of(self._folder, name))

    async def save(self, name: str, data: bytes, version: int) -> int:
        """Replace the document of this version; `CheckpointConflict` where the file holds another."""
        return await asyncio.to_thread(self._save, _Paths.of(self._folder, name), data, version)

    # From here on in a thread.

    def _open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def _load(self, paths: _Paths) -> Kept | None:
        try:
            content = paths.document.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error
        digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if digest != _digest(body) or len(body) < _VERSION_BYTES:
            self.damaged += 1
            logger.warning("the checkpoint %s is damaged and counts as none", paths.document)
            return None
        return Kept(body[_VERSION_BYTES:], int.from_bytes(body[:_VERSION_BYTES]))

    def _save(self, paths: _Paths, data: bytes, version: int) -> int:
        try:
            with _locked(paths.lock):
                kept = self._load(paths)
                found = kept.version if kept else 0
                if found != version:
                    raise CheckpointConflict(f"{paths.document} is at version {found}, not {version}")
                # never one of a document that was deleted, as it would be if they began at 1
                fresh = version + 1 if version else time.time_ns() // 1_000
                body = fresh.to_bytes(_VERSION_BYTES) + data
                _write(paths, _digest(body) + body)
                return fresh
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"checkpoints cannot be kept in {self._folder}: {error.strerror or error}")


class _Paths(NamedTuple):
    document: Path
    fresh: Path
    lock: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> _Paths:
        encoded = name.encode("utf-8", "surrogatepass")
        stem = f"{quote(encoded, safe='')[:_READABLE]}-{hashlib.blake2b(encoded, digest_size=8).hexdigest()}"
        return cls(*(folder / f"{stem}.{kind}" for kind in ("checkpoint", "new", "lock")))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # never for ever: the process that holds it may have been frozen
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _write(paths: _Paths, content: bytes) -> None:
    with open(paths.fresh, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(paths.fresh, paths.document)
    folder = os.open(paths.document.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
