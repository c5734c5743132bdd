"""How entries and their keys look in a plain cache: short keys of ASCII, and values that are text."""

from __future__ import annotations

import binascii
import hashlib
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from ..positions import Position

__all__ = ["Entry", "Name", "entry_key", "generation_key", "opened", "sealed"]

Name = tuple[str, str]
"""A scope and a key of it."""

_VERSION = 1
_LONGEST_KEY = 200


class Entry(NamedTuple):
    """A value, the stamp that it was filled under, when it ends (unix milliseconds), and its scope's generation."""

    data: bytes
    stamp: Position
    expires_at: int
    generation: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, bytes, int, int, int, str]).decode


def sealed(entry: Entry) -> str:
    """The text of an entry."""
    data, (epoch, offset), expires_at, generation = entry
    packed = _encode((_VERSION, data, epoch, offset, expires_at, generation))
    return binascii.b2a_base64(packed, newline=False).decode("ascii")


def opened(value: object) -> Entry | None:
    """The entry that this text, or its bytes, is; None for anything else, as somebody else may have put it there."""
    if not isinstance(value, str | bytes | bytearray | memoryview):
        return None
    try:
        version, data, epoch, offset, expires_at, generation = _decode(binascii.a2b_base64(value))
    except (ValueError, msgspec.MsgspecError):
        return None
    return Entry(data, Position(epoch, offset), expires_at, generation) if version == _VERSION else None


def entry_key(name: Name) -> str:
    """The key of an entry. With its colons escaped, a scope ends where the key begins."""
    scope, key = name
    return _short("ahc", f"{_plain(scope)}:{_plain(key)}")


def generation_key(scope: str | None) -> str:
    """The key of the generation of one scope, or (None) of all."""
    return "ahc-generation" if scope is None else _short("ahc-generation", _plain(scope))


def _plain(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _short(prefix: str, text: str) -> str:
    if len(prefix) + 1 + len(text) <= _LONGEST_KEY:
        return f"{prefix}:{text}"
    # an escaped name holds no "="
    return f"{prefix}=" + hashlib.sha256(text.encode("ascii")).hexdigest()
