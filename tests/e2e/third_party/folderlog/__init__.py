"""`folder:///path`: a log whose epochs are folders and whose records are files, for the processes of one host."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from async_hybrid_cache import (
    Bounds,
    ConfigurationError,
    InvalidationBus,
    LogRefused,
    LogUnavailable,
    Position,
    PositionLost,
    Record,
    StreamOptions,
)
from async_hybrid_cache.log import checked_record


class FolderLog:
    """An `EventLog` in the folder `root`; survives `kill -9`, not a power loss."""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)
        self._epoch = self._seen = self._first = self._last = 0

    def __repr__(self) -> str:
        return f"FolderLog({str(self._root)!r})"

    async def open(self) -> None:
        with self._mapped():
            self._root.mkdir(parents=True, exist_ok=True)
            self._begin(above=self._seen - 1)

    async def close(self) -> None:
        self._epoch = 0

    async def append(self, record: bytes, id: str) -> Position:
        folder, name, record = self._folder(), id.encode(), checked_record(record)
        with self._mapped():
            draft = folder / f".{secrets.token_hex(8)}"
            draft.write_bytes(len(name).to_bytes(4, "big") + name + record)
            try:
                offset = self._bounds().last + 1
                while True:
                    try:
                        os.link(draft, folder / str(offset))  # of two that want one offset, one fails
                        break
                    except FileExistsError:
                        offset += 1
            finally:
                draft.unlink()
        self._last = offset
        return Position(self._epoch, offset)

    async def bounds(self) -> Bounds:
        with self._mapped():
            return self._bounds()

    async def read(self, start: Position, limit: int, wait: float) -> Sequence[Record]:
        deadline = time.monotonic() + wait
        while True:
            with self._mapped():
                epoch, first, last = self._bounds()
                if start.epoch != epoch or not first <= start.offset <= last + 1:
                    raise PositionLost(f"{self!r} does not hold {start}")
                found = [self._record(n) for n in range(start.offset, min(start.offset + limit, last + 1))]
            if found or time.monotonic() >= deadline:
                return found
            await asyncio.sleep(0.005)

    async def renew(self, above: int) -> None:
        with self._mapped():
            self._begin(above)

    def _begin(self, above: int) -> None:
        with open(self._root / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            epoch = self._newest()
            if epoch <= max(above, 0):
                old, epoch = epoch, max(time.time_ns() // 1000, above + 1, self._seen + 1)
                (self._root / str(epoch)).mkdir()
                shutil.rmtree(self._root / str(old), ignore_errors=True)
        self._epoch = self._seen = epoch
        self._first = self._last = 0

    def _newest(self) -> int:
        return max((int(name) for name in os.listdir(self._root) if name.isdecimal()), default=0)

    def _folder(self) -> Path:
        if not self._epoch:
            raise LogUnavailable(f"{self!r} is not open")
        return self._root / str(self._epoch)

    def _bounds(self) -> Bounds:
        folder = self._folder()
        if self._newest() != self._epoch:
            raise PositionLost(f"{self!r} has begun a new epoch")
        # what is known is looked at first, so that the folder need not be listed each time
        if not all((folder / str(known)).exists() for known in (self._first, self._last)):
            held = sorted(int(name) for name in os.listdir(folder) if name.isdecimal())
            self._first, self._last = (held[0], held[-1]) if held else (1, 0)
        while (folder / str(self._last + 1)).exists():
            self._last += 1
        return Bounds(self._epoch, self._first, self._last)

    def _record(self, offset: int) -> Record:
        data = (self._folder() / str(offset)).read_bytes()
        end = 4 + int.from_bytes(data[:4], "big")
        return Record(Position(self._epoch, offset), data[4:end].decode(), data[end:])

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise PositionLost(f"{self!r}: {error.strerror}") from error
        except PermissionError as error:
            raise LogRefused(f"{self!r}: {error.strerror}") from error
        except OSError as error:
            raise LogUnavailable(f"{self!r}: {error.strerror}") from error


class FolderBroker:
    """What the entry point names."""

    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> InvalidationBus:
        root = Path(self._path(url), namespace)
        return InvalidationBus(lambda: FolderLog(root), stream)

    def distributed_cache(self, url: str, *, namespace: str) -> None:
        self._path(url)

    def checkpoints(self, url: str, *, namespace: str) -> None:
        self._path(url)

    def _path(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.netloc or len(parts.path) < 2:
            raise ConfigurationError("a folder URL names a folder and no host: folder:///absolute/path")
        return unquote(parts.path)


BROKER = FolderBroker()
