"""Any text as one token of a subject, and what may be the name of a bucket."""

from __future__ import annotations

import hashlib
import re

from async_hybrid_cache.errors import ConfigurationError

__all__ = ["checked_bucket", "token"]

_LONGEST = 200
_PLAIN = re.compile(rf"[A-Za-z0-9_/-]{{1,{_LONGEST}}}")
_SPECIAL = re.compile(rb"[^A-Za-z0-9_/-]")


def token(text: str) -> str:
    """`text` as a token that is a valid part of a KV key, a different one for each text.

    Bytes of UTF-8 other than letters, digits, `_`, `/` and `-` are written `=3A`; what gets longer than 200
    characters so is `==` and its SHA-256, since a server takes no protocol line above 4 kB.
    """
    if _PLAIN.fullmatch(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    escaped = _SPECIAL.sub(lambda byte: b"=%02X" % ord(byte[0]), raw).decode()
    if len(escaped) > _LONGEST:
        return f"=={hashlib.sha256(raw).hexdigest()}"
    return escaped or "="


def checked_bucket(name: str) -> str:
    """`name`, if a bucket may have it."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name):
        raise ConfigurationError(f"a NATS bucket's name is letters, digits, '_' and '-', not {name!r}")
    return name
