"""What a serializer is."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["Serializer", "TypedSerializer"]


@runtime_checkable
class Serializer(Protocol):
    """Values to bytes and back.

    `dumps` raises `EncodeError` for a value it cannot take, `loads` raises `DecodeError` for bytes it cannot
    read; a payload that does not decode is a counted miss, never an exception in a cached read.
    """

    def dumps(self, value: Any) -> bytes:
        """The bytes of `value`."""
        ...

    def loads(self, data: bytes) -> Any:
        """The value of `data`."""
        ...


@runtime_checkable
class TypedSerializer(Serializer, Protocol):
    """A serializer that can be bound to a type, as `cached` does with the function's return annotation."""

    def typed(self, annotation: Any) -> Serializer:
        """A serializer of the same kind whose `loads` returns `annotation`."""
        ...
