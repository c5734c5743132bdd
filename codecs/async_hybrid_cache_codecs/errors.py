"""The root of the error tree and the two ways a codec can fail."""

from __future__ import annotations

__all__ = ["CacheError", "DecodeError", "EncodeError"]


class CacheError(Exception):
    """Base of every error this library raises; a driver's own error, where there is one, is its cause."""


class EncodeError(CacheError):
    """A value that the chosen serializer cannot turn into bytes; the message names one that can."""


class DecodeError(CacheError):
    """Bytes that do not decode to what was expected."""
