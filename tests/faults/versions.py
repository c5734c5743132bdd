"""A database of very many keys: a version for each number, in memory that all processes of a test share."""

from __future__ import annotations

import mmap
from pathlib import Path
from types import TracebackType

__all__ = ["Versions"]


class Versions:
    """`current` is what is committed, `announced` what was known to the log by then; a context manager."""

    def __init__(self, path: Path, count: int) -> None:
        if not path.exists():
            path.write_bytes(bytes(count * 16))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), count * 16)
        whole = memoryview(self._memory).cast("q")
        self.current = whole[:count]
        self.announced = whole[count:]
        self._views = (self.current, self.announced, whole)

    def __enter__(self) -> Versions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for view in self._views:
            view.release()
        self._memory.close()
