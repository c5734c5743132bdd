"""From a file to what is staged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from async_hybrid_cache_codecs import Serializer

from ..checkpoint import Checkpoint
from ..clock import NEVER, Clock
from ..copies import copier
from ..options import EffectiveOptions
from ..positions import Position
from ..store import Entry
from .codecs import ScopeCodecs
from .frames import FrameReader, SnapshotUnusable
from .records import Chunk, Header, Item, decode_chunk, decode_header, library_version
from .slot import FileSlot
from .staged import Staged
from .turns import Turns, in_thread

if TYPE_CHECKING:
    from ..scopes import Scopes

__all__ = ["Read", "read_snapshot"]

_AGES_AGO = -(2**48)  # more ticks than a store ever counts, so that what was restored is older than what is used now


class Read(NamedTuple):
    """Where the snapshot stands, and how many of its entries could not be used."""

    base: Checkpoint
    dropped: int


async def read_snapshot(
    slot: FileSlot, staged: Staged, scopes: Scopes, serializer: Serializer, options: EffectiveOptions, clock: Clock
) -> Read:
    """Stage what the slot's file holds. Raises `SnapshotUnusable` or `OSError`, perhaps after some was staged."""
    file = FrameReader(slot.file)
    try:
        await in_thread(file.open)
        header = _header(await in_thread(file.next))
        reading = _Reading(header, staged, scopes, serializer, options, clock)
        while body := await in_thread(file.next):
            await reading.take(_chunk(body))
    finally:
        await in_thread(file.close)
    return Read(header.base, reading.dropped)


class _Reading:
    def __init__(
        self,
        header: Header,
        staged: Staged,
        scopes: Scopes,
        serializer: Serializer,
        options: EffectiveOptions,
        clock: Clock,
    ) -> None:
        self._began = header.began(clock)
        self._now = clock.monotonic()
        self._stamp = Position(header.base.epoch, header.base.offset)
        self._staged = staged
        self._scopes = scopes
        self._serializer = serializer
        self._options = options
        self._turns = Turns(clock)
        self._codecs: dict[str, ScopeCodecs] = {}
        self.dropped = 0

    async def take(self, chunk: Chunk) -> None:
        codecs = self._codecs_of(chunk.scope)
        if codecs.identity != chunk.identity:
            self.dropped += len(chunk.items)
            return
        scope = self._scopes.get(chunk.scope, self._options)
        for item in chunk.items:
            if self._turns.over:
                await self._turns.rest()
            entry = self._entry(item, codecs)
            if entry is None:
                self.dropped += 1
            else:
                self._staged.put(scope, entry)

    def _entry(self, item: Item, codecs: ScopeCodecs) -> Entry | None:
        stale_until = self._began + item.stale
        if stale_until <= self._now:
            return None
        try:
            value = codecs.load(item.codec, item.payload)
        except Exception:
            return None
        copy = None if item.shared else copier(value)
        used = item.used + _AGES_AGO
        # its first read judges it, by what has been heard of the log by then
        return Entry(item.key, value, copy, NEVER, stale_until, self._stamp, used, self._began + item.expires, NEVER)

    def _codecs_of(self, name: str) -> ScopeCodecs:
        codecs = self._codecs.get(name)
        if codecs is None:
            annotations = [one for scope in self._scopes.find(name) for one in scope.annotations()]
            codecs = self._codecs[name] = ScopeCodecs(self._serializer, annotations)
        return codecs


def _header(body: bytes) -> Header:
    try:
        header = decode_header(body)
    except msgspec.DecodeError as error:
        raise SnapshotUnusable("written by another release") from error
    if header.library != library_version():
        raise SnapshotUnusable("written by another release")
    return header


def _chunk(body: bytes) -> Chunk:
    try:
        return decode_chunk(body)
    except msgspec.DecodeError as error:
        raise SnapshotUnusable("damaged") from error
