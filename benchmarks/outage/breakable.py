"""What can be taken away and given back: a server, which is killed, or a file, which is locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from examples.demo.brokers import server_class

__all__ = ["Breakable", "LockedFile", "breakable"]


class Breakable(Protocol):
    """A broker that can be taken away and given back with its data."""

    @property
    def url(self) -> str: ...
    def kill(self) -> None: ...
    def start(self) -> None: ...


class LockedFile:
    """An SQLite file: `kill` locks it, `start` unlocks it."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path
        self._lock: sqlite3.Connection | None = None

    def kill(self) -> None:
        """`BEGIN EXCLUSIVE`: nobody else can write."""
        self._lock = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
        self._lock.execute("BEGIN EXCLUSIVE")

    def start(self) -> None:
        """Let go of the lock, if it is held."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextmanager
def breakable(name: str, folder: Path) -> Iterator[Breakable]:
    """The broker of that name with its data in `folder`, running."""
    if name == "sqlite":
        file = LockedFile(folder / "cache.db")
        try:
            yield file
        finally:
            file.start()
    else:
        with closing(server_class(name)(folder / name)) as server:
            server.open()
            yield server
