"""Frames: what one record of the log holds.

A frame is sealed once, bytes and id, and resent as it is until its fate is known: regrouping its events after
a lost acknowledgement would lose some, since a server that removes duplicates takes the grown frame for a
repeat.
The layout is documented in docs/wire-format.md, so that other programs and languages can publish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import msgspec

from .errors import DecodeError, EncodeError
from .events import Event, Unknown

__all__ = ["WIRE_VERSION", "OpenedFrame", "SealedFrame", "decode_event", "encode_event", "open_frame", "seal"]

WIRE_VERSION = 1


class _Frame(msgspec.Struct, frozen=True, rename={"version": "v", "epoch": "e", "origin": "o", "first": "f"}):
    version: int
    epoch: int
    origin: str
    first: int
    at: int
    events: list[msgspec.Raw]


class _Head(msgspec.Struct, frozen=True):
    t: str
    i: bool = False


class SealedFrame(msgspec.Struct, frozen=True):
    """Bytes ready to be appended, and resent unchanged, under an id that is stable over every attempt."""

    id: str
    data: bytes
    first: int
    events: tuple[Event, ...]

    @property
    def last(self) -> int:
        """The sequence of the last event."""
        return self.first + len(self.events) - 1


class OpenedFrame(msgspec.Struct, frozen=True):
    """A decoded frame. `events[i]` has the sequence `first + i` of `origin`."""

    epoch: int
    origin: str
    first: int
    at: int
    events: tuple[Event | Unknown, ...]

    @property
    def id(self) -> str:
        """What it was sealed under."""
        return _id(self.origin, self.first, self.last)

    @property
    def last(self) -> int:
        """The sequence of the last event."""
        return self.first + len(self.events) - 1


_encode = msgspec.msgpack.Encoder().encode
_decode_frame = msgspec.msgpack.Decoder(_Frame).decode
_decode_event: Callable[[bytes | msgspec.Raw], Event] = msgspec.msgpack.Decoder(Event).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode

# beside its own DecodeError msgspec raises these two, for deep nesting and for text that is not UTF-8
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

# one that this version knows but cannot read must not be skipped, whatever it says of itself
_INVALIDATIONS = frozenset(
    str(kind.__struct_config__.tag) for kind in get_args(Event) if "ignorable" not in kind.__struct_fields__
)


def encode_event(event: Event) -> bytes:
    """The bytes of one event, as they stand in a frame; `EncodeError` e.g. for text that is not UTF-8."""
    try:
        return _encode(event)
    except (OverflowError, TypeError, ValueError) as error:
        raise EncodeError(f"a {type(event).__name__} that the wire format cannot carry: {error}") from error


def seal(epoch: int, origin: str, first: int, at: int, events: Sequence[Event]) -> SealedFrame:
    """Seal `events` under the id `origin:first:last`.

    `epoch` is the log's epoch as the writer knew it, `first` the sequence of the first event, `at` unix
    nanoseconds (for people and metrics only, never for order).
    """
    if not events:
        raise ValueError("a frame has at least one event")
    raws = [msgspec.Raw(encode_event(event)) for event in events]
    data = _encode(_Frame(WIRE_VERSION, epoch, origin, first, at, raws))
    return SealedFrame(_id(origin, first, first + len(events) - 1), data, first, tuple(events))


def open_frame(data: bytes) -> OpenedFrame:
    """Decode one record; raises `DecodeError` where it is not a frame that this version can read.

    Event types that this version does not know come out as `Unknown`.
    """
    try:
        frame = _decode_frame(data)
    except _UNREADABLE as error:
        raise DecodeError("a record of the log is not a frame") from error
    if frame.version != WIRE_VERSION:
        raise DecodeError(f"a frame of wire version {frame.version}; this release reads {WIRE_VERSION}")
    if frame.first < 1 or not frame.events:
        raise DecodeError("a frame without events, or with a sequence below 1")
    events = tuple(decode_event(raw) for raw in frame.events)
    return OpenedFrame(frame.epoch, frame.origin, frame.first, frame.at, events)


def _id(origin: str, first: int, last: int) -> str:
    return f"{origin}:{first}:{last}"


def decode_event(raw: bytes | msgspec.Raw) -> Event | Unknown:
    """One event, as `encode_event` made it; raises `DecodeError` where it has not even a type."""
    try:
        return _decode_event(raw)
    except _UNREADABLE:
        pass
    try:
        head = _decode_head(raw)
    except _UNREADABLE as error:
        raise DecodeError("an event without a type") from error
    return Unknown(head.t, head.i and head.t not in _INVALIDATIONS)
