"""How to hand out a cached value so that nobody can change what is cached."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import types
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["Copier", "copier"]

Copier = Callable[[Any], Any]

_IMMUTABLE: frozenset[type] = frozenset(
    {
        bool, bytes, complex, float, int, range, str, type, type(None), type(Ellipsis), types.FunctionType,
        types.BuiltinFunctionType, datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
        datetime.timezone, decimal.Decimal, fractions.Fraction, uuid.UUID,
    }
)  # fmt: skip
_SHALLOW: dict[type, Copier] = {
    dict: dict.copy,
    list: list.copy,
    set: set.copy,
    bytearray: bytearray.copy,
}


def copier(value: Any) -> Copier | None:
    """The cheapest function that copies `value`; `None` where it is immutable and may be shared."""
    kind = type(value)
    if kind in _IMMUTABLE or isinstance(value, enum.Enum):
        return None
    shallow = _SHALLOW.get(kind)
    if shallow is not None:
        items = value.values() if kind is dict else value
        return shallow if kind is bytearray or _IMMUTABLE.issuperset(map(type, items)) else _copy_plain
    if kind is tuple or kind is frozenset:
        return None if all(copier(item) is None for item in value) else _copy_plain
    if _is_frozen(kind) and all(copier(getattr(value, name)) is None for name in _fields(kind)):
        return None
    return copy.deepcopy


def _is_frozen(kind: type) -> bool:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.frozen
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen and not hasattr(kind, "__dict__")


def _fields(kind: Any) -> tuple[str, ...]:
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    return tuple(field.name for field in dataclasses.fields(kind))


def _copy_plain(value: Any) -> Any:
    # JSON-like data several times faster than copy.deepcopy, which keeps a memo for cycles and identity
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind is dict:
        return {key: _copy_plain(item) for key, item in value.items()}
    if kind is list:
        return [_copy_plain(item) for item in value]
    if kind is tuple:
        return tuple([_copy_plain(item) for item in value])
    return copy.deepcopy(value)
