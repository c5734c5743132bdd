"""What the caches of a test cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Database"]


class Database:
    """A version for each key, as files in `folder`, so that every process sees one truth. None: no such key."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder

    def read(self, key: str) -> int | None:
        """The version of `key`."""
        try:
            return int((self.folder / key).read_text())
        except FileNotFoundError:
            return None

    def read_all(self, keys: Sequence[str]) -> list[int | None]:
        """The versions of `keys`, in their order."""
        return [self.read(key) for key in keys]

    def write(self, key: str) -> int:
        """A new version of `key`, committed when this returns."""
        version = (self.read(key) or 0) + 1
        fresh = self.folder / f"{key}.{os.getpid()}.new"
        fresh.write_text(str(version))
        fresh.replace(self.folder / key)
        return version
