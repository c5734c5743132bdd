"""From L1 to a file."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from async_hybrid_cache_codecs import EncodeError, Serializer

from ..checkpoint import Checkpoint
from ..clock import Clock
from ..store import Entry
from .codecs import ScopeCodecs
from .frames import FrameWriter
from .records import Chunk, Header, Item, boot, encode, library_version
from .slot import FileSlot
from .turns import Turns, in_thread

if TYPE_CHECKING:
    from ..scopes import Scope

__all__ = ["Written", "write_snapshot"]

_CHUNK_BYTES = 64 * 1024
_CHUNK_ITEMS = 500  # encoded and decoded in one go
_LARGEST_BYTES = 2**31  # well below what the length of a frame can tell


class Written(NamedTuple):
    """What was written: entries and bytes; and the entries that no serializer took."""

    entries: int
    bytes: int
    left_out: int


async def write_snapshot(
    slot: FileSlot, scopes: Iterable[Scope], serializer: Serializer, base: Checkpoint, clock: Clock, pause: float
) -> Written:
    """Write what is in L1, valid as of `base`, which is where the stream stands now. Raises `OSError`."""
    scan = _Scan(clock, pause)
    file = FrameWriter(slot.file, slot.fresh)
    try:
        await in_thread(file.open)
        header = Header(library_version(), base, scan.time_ns, scan.began, boot())
        await in_thread(partial(file.write, encode(header)))
        for scope in scopes:
            await scan.write_scope(scope, ScopeCodecs(serializer, scope.annotations()), file)
        await in_thread(file.commit)
    except BaseException:
        await in_thread(file.abort)
        raise
    return Written(scan.entries, file.size, scan.left_out)


class _Scan:
    def __init__(self, clock: Clock, pause: float) -> None:
        self.began = clock.monotonic()
        self.time_ns = clock.time_ns()
        self.entries = 0
        self.left_out = 0
        self._turns = Turns(clock, pause)

    async def write_scope(self, scope: Scope, codecs: ScopeCodecs, file: FrameWriter) -> None:
        items: list[Item] = []
        size = 0
        for entry in list(scope.store.entries.values()):
            if self._turns.over:
                await self._turns.rest()
            item = self._item(entry, codecs)
            if item is None:
                continue
            items.append(item)
            size += len(item.payload) + len(item.key)
            if size >= _CHUNK_BYTES or len(items) == _CHUNK_ITEMS:
                await in_thread(partial(file.write, encode(Chunk(scope.name, codecs.identity, items))))
                items, size = [], 0
        if items:
            await in_thread(partial(file.write, encode(Chunk(scope.name, codecs.identity, items))))

    def _item(self, entry: Entry, codecs: ScopeCodecs) -> Item | None:
        if entry.gone or entry.stale_until <= self.began:
            return None
        try:
            codec, payload = codecs.dump(entry.value)
        except EncodeError:
            self.left_out += 1
            return None
        if len(payload) > _LARGEST_BYTES:
            self.left_out += 1
            return None
        self.entries += 1
        expires, stale = entry.expires_at - self.began, entry.stale_until - self.began
        return Item(entry.key, codec, payload, expires, stale, entry.used, entry.copy is None)
