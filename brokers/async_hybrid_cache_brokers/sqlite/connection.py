"""One sqlite3 connection, and the one thread that uses it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

from async_hybrid_cache.errors import ConfigurationError

from .failures import FileForked, FileLost

__all__ = ["BOOT", "Connection", "closed", "database_path", "transaction"]

T = TypeVar("T")

BUSY_SECONDS = 1.0
_WAL_BYTES = 16 * 1024 * 1024


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


BOOT = _boot()
"""The machine's boot id; empty where the system has none."""


def database_path(path: str | os.PathLike[str]) -> str:
    """`path`, absolute; raises `ConfigurationError` for what is no file."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(f"path must be the path of a file, not {name!r}")
    if name == ":memory:" or name.startswith("file:"):
        raise ConfigurationError(
            f"{name!r} cannot be shared between processes; give the path of a file, "
            "or use memory:// (MemoryInvalidationBus) within one process"
        )
    return os.path.abspath(name)


@contextmanager
def transaction(db: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    """Everything in the block or nothing of it; a failure leaves the connection usable."""
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


class Connection:
    """A connection to the file at `path`, in WAL mode.

    `prepare` runs on every new connection, before anything else. Waiting for other writers ends after a
    second. A cancelled call that has begun runs to its end in the thread; the next one comes after it.
    """

    def __init__(self, path: str, prepare: Callable[[sqlite3.Connection], None]) -> None:
        self._path = path
        self._prepare = prepare
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "ahc-sqlite")
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        _live.add(self)

    async def open(self) -> None:
        """Connect, in the place of the connection there may be; creates the file where there is none."""
        await asyncio.wrap_future(self._submit(self._connect))

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, run in the thread; raises `FileLost` before it where the file is another."""
        return await asyncio.wrap_future(self._submit(lambda: work(self._current())))

    def end(self) -> Future[None] | None:
        """Begin to disconnect, which no cancellation stops; None where that was begun before."""
        thread, self._thread = self._thread, None
        if thread is None:
            return None
        done = thread.submit(self._disconnect)
        thread.shutdown(wait=False)
        return done

    def forked(self) -> None:
        """Let go in the child of a fork, where closing a connection would break the parent's locks."""
        if self._db is not None:
            _inherited.append(self._db)
        if self._file is not None:
            _inherited_files.add(self._file)
        self._thread = self._db = None

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        if self._thread is None:
            if self._file in _inherited_files:
                raise FileForked("the file was open when the process was forked")
            raise sqlite3.ProgrammingError("the connection was closed")
        return self._thread.submit(call)

    def _current(self) -> sqlite3.Connection:
        if self._db is None or _identity(self._path) != self._file:
            raise FileLost("the file was deleted or replaced")
        return self._db

    def _connect(self) -> None:
        self._disconnect()
        # never opened by hand where it exists: closing that descriptor would drop SQLite's locks on the file
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
        file = _identity(self._path)
        if file in _inherited_files:
            raise FileForked("the file was open when the process was forked")
        db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            _write_ahead(db)
            self._prepare(db)
            if file is None or _identity(self._path) != file:
                raise FileLost("the file was replaced while it was opened")
        except BaseException:
            db.close()
            raise
        self._db, self._file = db, file

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
        # what is closed is not inherited by a fork, however long this object is kept alive
        self._file = None


async def closed(*connections: Connection) -> None:
    """Disconnect all of them, also where the caller is cancelled while it waits."""
    for done in [connection.end() for connection in connections]:
        if done is not None:
            await asyncio.shield(asyncio.wrap_future(done))


def _identity(path: str) -> tuple[int, int] | None:
    """Which file this is; while a connection holds it open, no other file can get the same."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _write_ahead(db: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait here, where several processes make the file at once
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    if mode != "wal":
        refused = sqlite3.OperationalError(f"no WAL on this file system, the journal mode stays {mode}")
        refused.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
        raise refused
    # NORMAL survives a killed process; a power loss may undo commits, which the boot id gives away
    db.execute(f"PRAGMA synchronous = {'NORMAL' if BOOT else 'FULL'}")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")


_live: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []
_inherited_files: set[tuple[int, int]] = set()


def _after_fork() -> None:
    for connection in list(_live):
        connection.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
