"""A serializer that hands out no bytes which would come back as another value."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

from .difference import difference
from .errors import DecodeError, EncodeError

__all__ = ["CheckedSerializer", "Codec"]


class Codec(NamedTuple):
    """A pair of functions for one type; both raise whatever their library raises."""

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


class CheckedSerializer(ABC):
    """Base of the serializers that need to know a value's type to give it back.

    `type` is what `loads` returns; `Any` stands for plain data. `dumps` decodes what it has just encoded:
    bytes that would come back unequal, or of another type, are an `EncodeError` that says where.
    """

    _fixes: ClassVar[str]

    def __init__(self, type: Any = Any) -> None:
        self._type = Any if type is inspect.Parameter.empty or type is object else type
        self._bound: dict[Any, Self] = {}

    def typed(self, annotation: Any) -> Self:
        """A serializer of the same kind for `annotation`; the same one for the same annotation."""
        try:
            bound = self._bound.get(annotation)
        except TypeError:
            return type(self)(annotation)  # not hashable
        if bound is None:
            bound = self._bound[annotation] = type(self)(annotation)
        return bound

    def dumps(self, value: Any) -> bytes:
        """The bytes of `value`; raises `EncodeError` unless `loads` gives it back, equal and of its type."""
        try:
            codec = self._codec
        except Exception as error:
            raise EncodeError(f"{self!r} cannot be built: {error}; {self._fix}") from error
        try:
            data = codec.encode(value)
            found = difference(value, codec.decode(data))
        except Exception as error:
            raise self._refusal(value, error) from error
        if found is not None:
            raise self._refusal(value, found)
        return data

    def loads(self, data: bytes) -> Any:
        """The value of `data`; raises `DecodeError` for anything but one whole payload of the type."""
        try:
            return self._codec.decode(data)
        except Exception as error:
            raise DecodeError(f"not a payload of {self!r}") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self._type is Any else _name(self._type)})"

    def _refusal(self, value: Any, reason: object) -> EncodeError:
        return EncodeError(f"{self!r} cannot take this {_name(type(value))}: {reason}; {self._fix}")

    @property
    def _fix(self) -> str:
        annotation = "annotate the function's return type" if self._type is Any else "correct the annotation"
        return f"{annotation}, or choose {self._fixes}"

    @cached_property
    def _codec(self) -> Codec:
        # built at first use, so that an annotation nothing can decode does not fail the decorator
        return self._build(self._type)

    @abstractmethod
    def _build(self, type: Any) -> Codec: ...


def _name(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
