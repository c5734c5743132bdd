"""What the L2 keeps under a key: an entry or a lease, with the milliseconds that it is good for."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from async_hybrid_cache.positions import Position

__all__ = ["Entry", "Lease", "decoded", "encoded_entry", "encoded_lease", "lease_of", "millis", "token_of"]

_LONGEST = 10 * 366 * 86_400_000
_ENTRY = struct.Struct(">cQQQ")
_LEASE = struct.Struct(">cQ")
_TOKEN = re.compile(r"([0-9]{1,18})-([1-9][0-9]{0,17})", re.ASCII)


class Entry(NamedTuple):
    """A value, the stamp it was filled under, and how long it is good for, in seconds."""

    data: bytes
    stamp: Position
    seconds: float


class Lease(NamedTuple):
    """That somebody loads, and how long it is waited for, in seconds."""

    seconds: float


def millis(seconds: float) -> int:
    """At least one millisecond, at most ten years of them."""
    return max(1, round(min(seconds * 1000, _LONGEST)))


def encoded_entry(data: bytes, stamp: Position, ms: int) -> bytes:
    """The record of an entry."""
    return _ENTRY.pack(b"V", ms, *stamp) + data


def encoded_lease(ms: int) -> bytes:
    """The record of a lease."""
    return _LEASE.pack(b"L", ms)


def decoded(record: bytes) -> Entry | Lease | None:
    """The entry or lease of a record; None for a deletion, and for what is not ours."""
    if record[:1] == b"V" and len(record) >= _ENTRY.size:
        _, ms, epoch, offset = _ENTRY.unpack_from(record)
        return Entry(record[_ENTRY.size :], Position(epoch, offset), ms / 1000)
    if record[:1] == b"L" and len(record) == _LEASE.size:
        return Lease(_LEASE.unpack(record)[1] / 1000)
    return None


def token_of(revision: int, deadline_ms: int) -> str:
    """The token of the lease stored as `revision`, which ends at this time of the server's clock."""
    return f"{deadline_ms}-{revision}"


def lease_of(token: str) -> tuple[int, int] | None:
    """Revision and deadline behind a token; None for what is none."""
    found = _TOKEN.fullmatch(token)
    return (int(found[2]), int(found[1])) if found else None
