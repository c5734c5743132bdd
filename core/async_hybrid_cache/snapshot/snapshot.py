"""L1 of one process in a file: when it is written and read, and what became of it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from async_hybrid_cache_codecs import Serializer

from ..checkpoint import Checkpoint
from ..clock import Clock
from ..errors import ConfigurationError
from ..options import EffectiveOptions
from .frames import SnapshotUnusable
from .reading import read_snapshot
from .slot import FileSlot
from .staged import Staged
from .turns import in_thread
from .writing import Written, write_snapshot

if TYPE_CHECKING:
    from ..scopes import Scopes

__all__ = ["Snapshot", "checked_path"]

logger = logging.getLogger("async_hybrid_cache")

_PAUSE_SECONDS = 0.004


class Snapshot:
    """Keeps L1 in `<path>.<number>`, every `seconds` and on stop. Nothing here raises into the cache."""

    def __init__(
        self,
        path: Path,
        seconds: float,
        scopes: Scopes,
        serializer: Serializer,
        options: EffectiveOptions,
        clock: Clock,
    ) -> None:
        self._path = path
        self._seconds = seconds
        self._scopes = scopes
        self._serializer = serializer
        self._options = options
        self._clock = clock
        self._slot: FileSlot | None = None
        self._staged: Staged | None = None
        self.written = 0
        self.last = Written(0, 0, 0)
        self.dropped = 0
        self.thrown_away = 0
        self.last_thrown_away: str | None = None
        self.failures = 0
        self.failing: str | None = None

    @property
    def restored(self) -> int:
        """Entries of the snapshot that reached L1 after the last start."""
        return self._staged.moved if self._staged else 0

    async def restore(self) -> Checkpoint | None:
        """Claim a slot and stage what its file holds; returns where that stands, None for a cold start."""
        self._staged = None
        try:
            slot = await in_thread(self._claim)
        except (OSError, SnapshotUnusable) as error:
            self._failed(error)
            return None
        staged = self._staged = self._scopes.staged = Staged(self.throw_away)
        try:
            base, self.dropped = await read_snapshot(
                slot, staged, self._scopes, self._serializer, self._options, self._clock
            )
        except FileNotFoundError:
            self._scopes.staged = None
            return None
        except (OSError, SnapshotUnusable) as error:
            self._scopes.staged = None
            self.throw_away(str(error))
            return None
        staged.complete()
        return base

    def throw_away(self, reason: str) -> None:
        """Count a snapshot of which nothing could be used."""
        self.thrown_away += 1
        self.last_thrown_away = reason
        logger.warning("the snapshot of L1 is not used: %s", reason)

    async def run(self, position: Callable[[], Checkpoint | None]) -> None:
        """Write every so often, for ever; `position` tells where the stream stands, None where it does not."""
        while True:
            await asyncio.sleep(self._seconds)
            await self.write(position(), _PAUSE_SECONDS)

    async def write(self, base: Checkpoint | None, pause: float = 0.0) -> None:
        """Write L1 as it is now; `pause` is for how long others have the loop between two turns of a millisecond."""
        if base is None or self._slot is None:
            return
        try:
            self.last = await write_snapshot(self._slot, self._scopes, self._serializer, base, self._clock, pause)
        except Exception as error:
            self._failed(error)
        else:
            self.written += 1
            self.failing = None

    async def write_last(self, base: Checkpoint | None, seconds: float) -> None:
        """Write L1 before the end; the file stays as it was where that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self.write(base)
        except TimeoutError:
            self._failed(TimeoutError(f"it took longer than {seconds:g} s"))

    def let_go(self) -> None:
        """Give the slot back."""
        self._scopes.staged = None
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.release()

    def _claim(self) -> FileSlot:
        # noted here, so that it is given back also where nobody waits for it any more
        self._slot = slot = FileSlot.claim(self._path)
        return slot

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        if self.failing is None:
            logger.warning("L1 cannot be kept in %s: %s", self._path, error)
        self.failing = str(error) or type(error).__name__


def checked_path(path: str | os.PathLike[str] | None, bus: object) -> Path | None:
    """Where snapshots are to be kept, as it was configured; None for nowhere. Raises `ConfigurationError`."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not os.fspath(path) or "\0" in os.fsdecode(path):
        raise ConfigurationError(f"snapshot must be the path of a file, not {path!r}")
    if bus is None:
        raise ConfigurationError("snapshot needs a bus: nothing else could tell what a restart missed; give one")
    # absolute, since a program may change its working directory
    return Path(os.path.abspath(os.fsdecode(path)))
