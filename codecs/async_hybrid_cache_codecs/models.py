"""Pydantic models inside msgspec's formats; pydantic itself is imported only once there is a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

__all__ = ["decode_hook", "encode_hook", "is_model", "model_fields", "pydantic", "read_field", "validated"]


class Pydantic(NamedTuple):
    """What is used of pydantic.

    With the options `dump` and `load`, what one dumps the other can load, whatever aliases the fields have.
    """

    ValidationError: type[ValueError]
    to_json: Callable[[Any], bytes]
    dump: dict[str, Any]
    load: dict[str, Any]


@cache
def pydantic() -> Pydantic:
    """Import pydantic; raises `ImportError` where it is not installed."""
    from pydantic import VERSION, ValidationError
    from pydantic_core import to_json

    if tuple(map(int, VERSION.split(".")[:2])) >= (2, 11):
        by_name = {"by_alias": False, "by_name": True}
        return Pydantic(ValidationError, to_json, {"by_alias": False}, by_name)
    return Pydantic(ValidationError, to_json, {"by_alias": True}, {})


def is_model(kind: Any) -> bool:
    """Whether `kind` is a pydantic model class."""
    return isinstance(kind, type) and hasattr(kind, "model_validate_json")


def encode_hook(value: Any) -> Any:
    """Plain data for a model; everything else msgspec does not know is a `TypeError`."""
    if not is_model(type(value)):
        raise TypeError(f"a {type(value).__qualname__} cannot be encoded")
    # warnings are off since whatever they warn of fails the round trip
    return value.model_dump(mode="json", round_trip=True, warnings=False, **pydantic().dump)


def decode_hook(kind: Any, data: Any) -> Any:
    """The model of class `kind` that `encode_hook` turned into `data`."""
    if not is_model(kind):
        raise TypeError(f"a {getattr(kind, '__qualname__', kind)} cannot be decoded")
    # through JSON, from which a strict model takes dates and UUIDs; from plain Python data it does not
    return validated(kind.model_validate_json, pydantic().to_json(data))


def validated(validate: Callable[..., Any], data: bytes) -> Any:
    """`validate(data)`; pydantic's error becomes a `ValueError` that does not repeat the user's data."""
    try:
        return validate(data, **pydantic().load)
    except pydantic().ValidationError as error:
        reason = error.errors(include_url=False, include_context=False, include_input=False)[0]  # type: ignore[attr-defined]
        where = ".".join(map(str, reason["loc"]))
        raise ValueError(f"{reason['msg']} ({where})" if where else reason["msg"]) from error


def model_fields(kind: Any) -> tuple[str, ...]:
    """The names of all that makes up a model of class `kind`: fields, extra fields, private attributes."""
    return (*kind.model_fields, "__pydantic_extra__", "__pydantic_private__")


def read_field(model: Any, name: str) -> Any:
    """One of `model_fields`; not by getattr alone, since a deprecated field warns of being read."""
    return vars(model)[name] if name in vars(model) else getattr(model, name, None)
