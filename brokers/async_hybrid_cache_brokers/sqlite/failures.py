"""What SQLite's errors mean, and what to do about them."""

from __future__ import annotations

import errno
import sqlite3
from typing import NamedTuple

__all__ = ["UNUSABLE", "Failure", "FileForked", "FileLost", "explain"]

UNUSABLE = (ValueError, OverflowError, sqlite3.DataError)
"""What sqlite3 raises for a parameter that it cannot bind, before anything happened."""


class FileLost(sqlite3.OperationalError):
    """The file was deleted or replaced, or could not be opened last time."""


class FileForked(sqlite3.OperationalError):
    """The process was forked while it had the file open."""


class Failure(NamedTuple):
    """A message that names the file and the fix, and whether another try is no use."""

    message: str
    lasting: bool


_LASTING = {
    sqlite3.SQLITE_NOTADB: "is not an SQLite database; choose another path, or delete it",
    sqlite3.SQLITE_CORRUPT: "is damaged; stop every process that uses it and delete it, a new one is begun",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; it must be a file in a folder that exists and is writable",
    sqlite3.SQLITE_READONLY: "is read-only; this user needs to write to the file and to its folder",
    sqlite3.SQLITE_PERM: "may not be used by this user; grant access to the file and to its folder",
    sqlite3.SQLITE_AUTH: "may not be used by this user; grant access to the file and to its folder",
    sqlite3.SQLITE_PROTOCOL: "cannot be locked; put it on a local file system, not on a network share",
    sqlite3.SQLITE_TOOBIG: "does not take a record of this size",
    sqlite3.SQLITE_ERROR: "holds tables that are not this cache's; choose another path",
}
_PASSING = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another connection",
    sqlite3.SQLITE_FULL: "cannot grow; the disk is full",
}
_WORTH_ANOTHER_TRY = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EIO}


def explain(error: Exception, path: str) -> Failure:
    """What `error` on the file at `path` means for the caller."""
    if isinstance(error, FileForked):
        return Failure(
            f"this process was forked while {path} was open, and SQLite cannot go on in both: "
            "start the cache after the fork, e.g. in the application's lifespan",
            lasting=True,
        )
    if isinstance(error, FileLost):
        return Failure(f"{path} was deleted or replaced", lasting=False)
    if isinstance(error, OSError):
        lasting = error.errno not in _WORTH_ANOTHER_TRY
        fix = "it must be a file in a folder that exists and is writable" if lasting else "try again later"
        return Failure(f"{path} cannot be opened ({error.strerror}); {fix}", lasting)
    if isinstance(error, UNUSABLE):
        return Failure(f"{path} does not take this key or value ({type(error).__name__})", lasting=True)
    code = getattr(error, "sqlite_errorcode", None)  # absent where the module itself refused
    primary = 0 if code is None else code & 0xFF
    if primary in _LASTING:
        return Failure(f"{path} {_LASTING[primary]}", lasting=True)
    return Failure(f"{path} {_PASSING.get(primary, 'could not be used')}", lasting=False)
