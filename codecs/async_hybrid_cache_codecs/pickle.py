"""Pickle, signed: for values that no other codec can take."""

from __future__ import annotations

import hmac
import pickle
from collections.abc import Sequence
from typing import Any

from .errors import CacheError, DecodeError, EncodeError

__all__ = ["PickleSerializer"]

_VERSION = b"\x01"
_DIGEST = "sha256"
_DIGEST_SIZE = 32
_MIN_KEY_SIZE = 16


class PickleSerializer:
    """Any picklable value, signed with `key` (HMAC-SHA256) and verified before a byte of it is unpickled.

    Who can write to L2 but does not know the key cannot run code here; what they still can do is to move a
    signed payload from one cache key to another.

    `key` has at least 16 bytes; a str counts as UTF-8. `previous_keys` still verify but no longer sign, for
    rotation. `protocol` is pickle's (default 5). Raises `CacheError` for a key or protocol that cannot be
    used.

    A payload is a version byte, 32 bytes of signature over version and pickle, then the pickle.
    """

    def __init__(self, key: bytes | str, *, previous_keys: Sequence[bytes | str] = (), protocol: int = 5) -> None:
        if isinstance(previous_keys, bytes | str):
            raise CacheError("previous_keys is a sequence of keys; write previous_keys=[old_key]")
        if protocol not in range(pickle.HIGHEST_PROTOCOL + 1):
            raise CacheError(f"protocol must be 0 to {pickle.HIGHEST_PROTOCOL}, not {protocol!r}")
        self._keys = (_key("key", key), *(_key("previous_keys", previous) for previous in previous_keys))
        self._protocol = protocol

    def dumps(self, value: Any) -> bytes:
        """The signed bytes of `value`; raises `EncodeError` where pickle cannot take it."""
        try:
            payload = pickle.dumps(value, self._protocol)
        except Exception as error:
            raise EncodeError(
                f"PickleSerializer cannot take this {type(value).__qualname__}: {error}; return plain data"
            ) from error
        return _VERSION + _signature(self._keys[0], payload) + payload

    def loads(self, data: bytes) -> Any:
        """The value of `data`; raises `DecodeError` for anything that was not signed with one of the keys."""
        head = len(_VERSION) + _DIGEST_SIZE
        if not isinstance(data, bytes) or len(data) <= head or not data.startswith(_VERSION):
            raise DecodeError("not a signed pickle of this version")
        signature, payload = data[len(_VERSION) : head], data[head:]
        if not any(hmac.compare_digest(signature, _signature(key, payload)) for key in self._keys):
            raise DecodeError("a pickle whose signature does not match any key")
        try:
            return pickle.loads(payload)
        except Exception as error:
            raise DecodeError("a signed pickle that cannot be read any more") from error

    def __repr__(self) -> str:
        return "PickleSerializer()"


def _signature(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, _VERSION + payload, _DIGEST)


def _key(name: str, key: object) -> bytes:
    if isinstance(key, str):
        key = key.encode("utf-8", "surrogatepass")
    if not isinstance(key, bytes) or len(key) < _MIN_KEY_SIZE:
        raise CacheError(f"{name}: bytes or str of at least {_MIN_KEY_SIZE} bytes; make one with secrets.token_hex(32)")
    return key
