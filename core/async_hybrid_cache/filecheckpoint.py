"""Checkpoints as files: one slot per process, written atomically."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from pathlib import Path

import msgspec

from .checkpoint import Checkpoint
from .errors import CacheError, ConfigurationError

__all__ = ["FileCheckpointStore"]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode
_DIGEST_BYTES = 16


class FileCheckpointStore:
    """Keeps checkpoints in a folder, `<instance_id>.<slot>.checkpoint`, on a local disk.

    A slot is claimed with a lock on its file for as long as the process lives, so four workers with one
    `instance_id` get four slots, and a killed worker's slot is free at once. Each write is checksummed, synced
    and renamed into place; a file that does not check out counts as none.
    """

    def __init__(self, folder: str | os.PathLike[str], *, max_slots: int = 1024) -> None:
        self._folder = Path(folder)
        self._max_slots = max_slots
        self._lock: int | None = None
        self._path: Path | None = None

    async def open(self, instance_id: str) -> Checkpoint | None:
        """Claim a slot; see `CheckpointStore`. Raises `ConfigurationError` for an id that is no file name."""
        if not instance_id or "/" in instance_id or "\0" in instance_id or instance_id.startswith("."):
            raise ConfigurationError(f"instance_id must be usable as a file name, not {instance_id!r}")
        await self.close()
        return await asyncio.to_thread(self._claim, instance_id)

    async def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint; see `CheckpointStore`."""
        await asyncio.to_thread(self._write, checkpoint)

    async def close(self) -> None:
        """Give the slot back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = self._path = None

    def _claim(self, instance_id: str) -> Checkpoint | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for slot in range(self._max_slots):
                path = self._folder / f"{instance_id}.{slot}.checkpoint"
                descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                self._lock, self._path = descriptor, path
                return _read(path)
        except OSError as error:
            raise CacheError(f"checkpoints cannot be kept in {self._folder}: {error.strerror}") from error
        raise CacheError(f"all {self._max_slots} checkpoint slots of {instance_id!r} are taken")

    def _write(self, checkpoint: Checkpoint) -> None:
        path = self._path
        if path is None:
            raise CacheError("the checkpoint store is not open")
        body = _encode(checkpoint)
        fresh = path.with_suffix(".new")
        try:
            with open(fresh, "wb") as file:
                file.write(_digest(body) + body)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except OSError as error:
            raise CacheError(f"the checkpoint {path} cannot be written: {error.strerror}") from error


def _read(path: Path) -> Checkpoint | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if digest != _digest(body):
        return None
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return None


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
