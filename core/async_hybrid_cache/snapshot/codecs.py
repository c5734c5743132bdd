"""How the values of a scope become bytes and values again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from async_hybrid_cache_codecs import EncodeError, Serializer, TypedSerializer
from async_hybrid_cache_codecs.checked import CheckedSerializer
from async_hybrid_cache_codecs.difference import difference

from ..offers import offers
from ..shared import typed
from .identity import describe

__all__ = ["ScopeCodecs"]


class ScopeCodecs:
    """The serializers of a scope: one for each return type of its functions, and one for plain data."""

    def __init__(self, serializer: Serializer, annotations: Iterable[Any]) -> None:
        described = {describe(annotation): annotation for annotation in annotations}
        described[describe(Any)] = Any
        self._described = sorted(described)
        self._annotations = [described[text] for text in self._described]
        self._serializer = serializer

    @cached_property
    def identity(self) -> bytes:
        """A digest of serializer and types: the bytes of one identity can be read by the same one alone."""
        kind = type(self._serializer)
        text = "\n".join([f"{kind.__module__}.{kind.__qualname__}", *self._described])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def dump(self, value: Any) -> tuple[int, bytes]:
        """The bytes of `value`, and the number of the serializer that can read them; `EncodeError` for none."""
        for number, serializer in enumerate(self._serializers):
            try:
                data = serializer.dumps(value)
                if _takes_any_type(serializer) and difference(value, serializer.loads(data)) is not None:
                    continue
            except Exception:
                continue
            return number, data
        raise EncodeError(f"no serializer of the scope takes this {type(value).__qualname__}")

    def load(self, number: int, data: bytes) -> Any:
        """The value of these bytes; raises what the serializer raises."""
        return self._serializers[number].loads(data)

    @cached_property
    def _serializers(self) -> list[Serializer]:
        return [typed(self._serializer, annotation) for annotation in self._annotations]


def _takes_any_type(serializer: Serializer) -> bool:
    # one bound to another function's type could turn the value into that type
    return offers(serializer, TypedSerializer) and not isinstance(serializer, CheckedSerializer)
