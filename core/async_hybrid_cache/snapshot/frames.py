"""The file: frames with chained checksums, written atomically, read whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from ..errors import CacheError

__all__ = ["FrameReader", "FrameWriter", "SnapshotUnusable"]

_MAGIC = b"AHCsnap1"
_LENGTH_BYTES = 4
_DIGEST_BYTES = 16


class SnapshotUnusable(CacheError):
    """A snapshot that cannot be used; the message says why."""


class FrameWriter:
    """Writes `fresh`, and with `commit` puts it in the place of `path`. Called in threads, `open` first."""

    def __init__(self, path: Path, fresh: Path) -> None:
        self._path = path
        self._fresh = fresh
        self._digest = b""
        self._file: BinaryIO | None = None
        self.size = 0

    def open(self) -> None:
        """Begin the file."""
        descriptor = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = open(descriptor, "wb")  # noqa: SIM115 - closed by `commit` or `abort`
        self._put(_MAGIC)

    def write(self, body: bytes) -> None:
        """Append one frame; an empty one ends the file."""
        self._digest = _digest(self._digest, body)
        self._put(len(body).to_bytes(_LENGTH_BYTES) + self._digest)
        self._put(body)

    def commit(self) -> None:
        """End the file, sync it, rename it into place, and sync the folder."""
        assert self._file is not None
        self.write(b"")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._fresh, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abort(self) -> None:
        """Leave what was in place there."""
        if self._file is None:
            return
        try:
            self._file.close()
        finally:
            self._fresh.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self.size += len(data)


class FrameReader:
    """Reads the frames of `path` in turn; `SnapshotUnusable` for a damaged file. Called in threads, `open` first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._digest = b""

    def open(self) -> None:
        """Begin to read."""
        self._file = open(self._path, "rb")  # noqa: SIM115 - closed by `close`
        if self._file.read(len(_MAGIC)) != _MAGIC:
            raise SnapshotUnusable("not a snapshot of this format")

    def next(self) -> bytes:
        """The next frame; an empty one at the end of the file."""
        assert self._file is not None
        length = int.from_bytes(self._file.read(_LENGTH_BYTES))
        digest = self._file.read(_DIGEST_BYTES)
        body = self._file.read(length)
        # chained, so that no frame can be missing, doubled or out of place
        self._digest = _digest(self._digest, body)
        if digest != self._digest or len(body) != length or (not body and self._file.read(1)):
            raise SnapshotUnusable("damaged")
        return body

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def _digest(before: bytes, body: bytes) -> bytes:
    digest = hashlib.blake2b(before, digest_size=_DIGEST_BYTES)
    digest.update(body)
    return digest.digest()
