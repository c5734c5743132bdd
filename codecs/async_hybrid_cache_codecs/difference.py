"""What a round trip through bytes did to a value."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from .models import is_model, model_fields, read_field

__all__ = ["Difference", "difference"]


class Difference(NamedTuple):
    """Where a value came back changed, and how; names fields and types, never a part of the data."""

    path: str
    change: str

    def __str__(self) -> str:
        return f"{self.change} at ${self.path}" if self.path else self.change


def difference(value: Any, back: Any) -> Difference | None:
    """The first place at which `back` is not equal to `value`, or not of the very same type.

    Dataclasses, structs and pydantic models are compared field by field, so that they need no `__eq__`; NaN
    equals NaN; aware datetimes are equal when they name the same instant.
    """
    kind: Any = type(value)
    if kind is not type(back):
        return Difference("", f"{kind.__qualname__} would come back as {type(back).__qualname__}")
    if issubclass(kind, (list, tuple)):
        return _among("[{}]".format, value, back)
    if issubclass(kind, dict):
        return _among("[a key]".format, value.keys(), back.keys()) or _among(
            "[a value]".format, value.values(), back.values()
        )
    if issubclass(kind, (set, frozenset)) and value == back:
        twins = {element: element for element in back}
        return _among("[an element]".format, value, [twins[element] for element in value])
    if (members := _members(kind)) is not None:  # type: ignore[arg-type]
        return _among(lambda index: f".{members.names[index]}", members.of(value), members.of(back))
    if value == back or (value != value and back != back) or _same_instant(value, back):
        return None
    return Difference("", f"{kind.__qualname__} would come back changed")


# of these, two that are equal and of one type are the same
_LEAVES = frozenset({int, str, bytes, bool, float, type(None), date, datetime, time, timedelta, Decimal, UUID})


def _among(step: Callable[[int], str], values: Collection[Any], backs: Collection[Any]) -> Difference | None:
    if len(values) != len(backs):
        return Difference("", f"{len(values)} items would come back as {len(backs)}")
    # passes in C over the whole spare plain data the loop below
    kinds = list(map(type, values))
    if kinds == list(map(type, backs)) and _LEAVES.issuperset(kinds) and list(values) == list(backs):
        return None
    for index, (value, back) in enumerate(zip(values, backs, strict=True)):
        kind = kinds[index]
        if kind in _LEAVES and kind is type(back) and value == back:
            continue
        if found := difference(value, back):
            return Difference(step(index) + found.path, found.change)
    return None


class _Members(NamedTuple):
    names: tuple[str, ...]
    of: Callable[[Any], list[Any]]


@lru_cache(maxsize=1024)
def _members(kind: Any) -> _Members | None:
    """How to read the fields of a class whose instances are compared by them; `None` for other classes."""
    if is_model(kind):
        names = model_fields(kind)
        return _Members(names, lambda value: [read_field(value, name) for name in names])
    if is_dataclass(kind):
        names = tuple(field.name for field in fields(kind))
    elif hasattr(kind, "__struct_fields__"):
        names = kind.__struct_fields__
    else:
        return None
    return _Members(names, lambda value: [getattr(value, name) for name in names])


def _same_instant(value: Any, back: Any) -> bool:
    # `==` between two time zones is False for the hour that a clock change repeats
    if not isinstance(value, datetime) or value.utcoffset() is None or back.utcoffset() is None:
        return False
    gap: timedelta = value - back
    return not gap
