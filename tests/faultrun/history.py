"""What happened, as the processes of a run note it: one line each, in files that a SIGKILL cuts between lines.

All times are CLOCK_MONOTONIC, which the processes of one host share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

__all__ = ["Barred", "Broke", "Counted", "Entry", "Paused", "Read", "Recorder", "Served", "Told", "Wrote", "read_back"]


class Entry(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One line."""


class Served(Entry, frozen=True):
    """A process was started at `began`, and its cache and its subscription were ready at `at`."""

    began: float
    at: float


class Read(Entry, frozen=True):
    """A read of `key` that returned `version`; `at_least` is what its position owed it, -1 where it had none."""

    began: float
    ended: float
    key: int
    version: int
    at_least: int = -1
    error: str | None = None


class Wrote(Entry, frozen=True):
    """`version` of `key` was committed after `began`, and `verb` had returned at `ended`, with `position` or queued."""

    began: float
    ended: float
    key: int
    version: int
    verb: str
    position: tuple[int, int] | None
    error: str | None = None


class Barred(Entry, frozen=True):
    """`barrier` had returned at `at` for the write of `version`."""

    at: float
    key: int
    version: int


class Told(Entry, frozen=True):
    """The subscriber of this worker was told of an event: keys of a scope, a whole scope (no keys), or a gap."""

    at: float
    position: tuple[int, int]
    scope: str | None
    keys: tuple[str, ...]
    gap: str | None = None


class Counted(Entry, frozen=True):
    """The counters of the cache, from the start of its process on."""

    at: float
    counters: dict[str, int]


class Paused(Entry, frozen=True):
    """This process did not run for the `seconds` before `at`."""

    at: float
    seconds: float


class Broke(Entry, frozen=True):
    """A fault, from its beginning until all of it was mended; `worker` is None where it concerned everybody.

    `forgets_seconds`: above 0 where the log went back to an earlier state behind everybody's back. What was
    acknowledged meanwhile may be lost, and that is noticed so many seconds after the end at the latest.
    """

    name: str
    worker: int | None
    began: float
    ended: float
    forgets_seconds: float = 0.0


_Any = Served | Read | Wrote | Barred | Told | Counted | Paused | Broke
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Any).decode


class Recorder:
    """Appends to one file, each line in one unbuffered write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, entry: Entry) -> None:
        """Write `entry` down."""
        os.write(self._file, _encode(entry) + b"\n")


def read_back(path: Path) -> Iterator[Entry]:
    """The entries of a file; one whose process was killed while it wrote the last line ends before that."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield _decode(line)
