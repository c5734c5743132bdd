"""What a journal is made of: checksummed records, the last of which may be half written."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple, TypeAlias

import msgspec

from async_hybrid_cache_codecs import EncodeError
from async_hybrid_cache_codecs.events import CacheCleared, Event

__all__ = ["Acknowledged", "Closed", "Content", "Noted", "Opened", "Record", "Sealed", "encode", "read"]

_VERSION = 1
_HEAD = struct.Struct(">III")
"""Length and checksum of the body, and a checksum of these two: a length that is wrong would look like a torn tail."""


class _Record(msgspec.Struct, frozen=True, array_like=True):
    pass


class Opened(_Record, frozen=True, tag="o"):
    """The first record: which log the events are for."""

    log: str
    version: int = _VERSION


class Noted(_Record, frozen=True, tag="n"):
    """An event that has to be deleted in L2 and announced."""

    number: int
    event: Event


class Closed(_Record, frozen=True, tag="c"):
    """Events that need nothing more, or stand in another record by now."""

    numbers: tuple[int, ...]


class Sealed(_Record, frozen=True, tag="s"):
    """A frame that may be in the log from now on, and the events that it takes along."""

    id: str
    data: bytes
    numbers: tuple[int, ...]


class Acknowledged(_Record, frozen=True, tag="a"):
    """A frame that is in the log."""

    id: str


Record: TypeAlias = Opened | Noted | Closed | Sealed | Acknowledged

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Content(NamedTuple):
    """What a journal still holds, in order; `damaged` where it cannot be told what else it held."""

    log: str | None
    frames: list[Sealed]
    events: list[Event]
    damaged: bool


def encode(record: Record) -> bytes:
    """The bytes of one record; `EncodeError` e.g. for text that is not UTF-8."""
    try:
        body = _encode(record)
    except (OverflowError, TypeError, ValueError) as error:
        raise EncodeError(f"an event that the outbox cannot hold: {error}") from error
    head = struct.pack(">II", len(body), zlib.crc32(body))
    return head + struct.pack(">I", zlib.crc32(head)) + body


def read(data: bytes) -> Content:
    """What is left of all records in `data`.

    A tail that was being written is cut off: nobody was told that it is kept. Whatever else does not check out may
    have been any event, so that everything counts as removed.
    """
    log: str | None = None
    notes: dict[int, Event] = {}
    frames: dict[str, Sealed] = {}
    bodies, damaged = _bodies(data)
    for body in bodies:
        try:
            record = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            damaged = True  # of a newer release
            continue
        match record:
            case Opened():
                log = record.log
                damaged = damaged or record.version != _VERSION
            case Noted():
                notes[record.number] = record.event
            case Closed():
                for number in record.numbers:
                    notes.pop(number, None)
            case Sealed():
                frames[record.id] = record
                for number in record.numbers:
                    notes.pop(number, None)
            case Acknowledged():
                frames.pop(record.id, None)
    events = [*notes.values(), CacheCleared()] if damaged else list(notes.values())
    return Content(log, list(frames.values()), events, damaged)


def _bodies(data: bytes) -> tuple[list[bytes], bool]:
    bodies: list[bytes] = []
    at = 0
    while len(data) - at >= _HEAD.size:
        length, checksum, of_head = _HEAD.unpack_from(data, at)
        if zlib.crc32(data[at : at + 8]) != of_head:
            # a file that was made longer, and lost its power before it was filled
            return bodies, any(data[at:])
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(body) < length:
            break
        if zlib.crc32(body) != checksum:
            return bodies, True
        bodies.append(body)
        at += _HEAD.size + length
    return bodies, False
