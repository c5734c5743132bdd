"""Entries to Kafka's record batches and back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import CorruptRecordException  # type: ignore[import-untyped]
from aiokafka.record.default_records import DefaultRecordBatchBuilder  # type: ignore[import-untyped]
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]

from .epochs import Claim, Entry

__all__ = ["batch", "entries"]

_CLAIM = "ahc"  # '<epoch>:<base>:<verified>', in ASCII
_MARKER = "ahc-epoch"  # '<epoch>'


def batch(
    id: str, data: bytes, claim: Claim, marker: int | None, *, producer_id: int, producer_epoch: int, sequence: int
) -> bytes:
    """A batch of one record."""
    headers: list[tuple[str, bytes | None]] = [(_CLAIM, b"%d:%d:%d" % claim)]
    if marker is not None:
        headers.append((_MARKER, b"%d" % marker))
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=sequence,
        batch_size=0,
    )
    # the first record goes in whatever the size of the batch
    builder.append(
        offset=0,
        timestamp=time.time_ns() // 1_000_000,
        key=id.encode("utf-8", "surrogatepass"),
        value=data,
        headers=headers,
    )
    return bytes(builder.build())


def entries(data: bytes, start: int) -> list[Entry]:
    """The entries from offset `start` on; batches of other programs may begin before it."""
    found: list[Entry] = []
    records = MemoryRecords(data)
    while records.has_next():
        one: Any = records.next_batch()
        if not one.validate_crc():
            raise CorruptRecordException("a batch whose checksum is wrong")
        if one.is_control_batch:  # the end of somebody's transaction; it has an offset, and says nothing
            found += (Entry(offset, f"control:{offset}", b"") for offset in range(one.base_offset, one.next_offset))
            continue
        for record in one:
            key, value, headers = record.key, record.value, record.headers
            claim, marker = _claim(headers) if headers else (None, None)
            found.append(Entry(record.offset, (key or b"").decode("utf-8", "replace"), value or b"", claim, marker))
    if found and found[0].offset < start:
        return [entry for entry in found if entry.offset >= start]
    return found


def _claim(headers: Sequence[tuple[str, bytes | None]]) -> tuple[Claim | None, int | None]:
    named = dict(headers)
    try:
        epoch, base, verified = (named.get(_CLAIM) or b"").split(b":")
        claim = Claim(int(epoch), int(base), int(verified))
        marker = named.get(_MARKER)
        return claim, None if marker is None else int(marker)
    except ValueError:
        return None, None
