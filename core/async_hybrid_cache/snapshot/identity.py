"""What a type looks like, so that a value written for another version of it is recognised."""

from __future__ import annotations

import enum
import re
from typing import Any, get_args, get_origin, get_type_hints

__all__ = ["describe"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PLAIN = (bool, int, float, str, bytes, type(None))


def describe(annotation: Any) -> str:
    """Name and fields of `annotation` and of every type in it; the same in every process that runs the same code."""
    return _ADDRESS.sub("", _describe(annotation, set()))


def _describe(kind: Any, seen: set[Any]) -> str:
    arguments = get_args(kind)
    if arguments:
        inner = ",".join(_describe(argument, seen) for argument in arguments)
        return f"{_name(get_origin(kind))}[{inner}]"
    if isinstance(kind, list):
        return f"[{','.join(_describe(item, seen) for item in kind)}]"
    if not isinstance(kind, type):
        return repr(kind)
    if kind in seen or kind.__module__ == "builtins":
        return _name(kind)
    seen.add(kind)
    if issubclass(kind, enum.Enum):
        members = ",".join(f"{member.name}={member.value!r}" for member in kind)
        return f"{_name(kind)}({members})"
    fields = ",".join(f"{name}:{_describe(hint, seen)}" for name, hint in _hints(kind).items())
    return f"{_name(kind)}{{{fields}}}{_layout(kind)}"


def _hints(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except Exception:
        # a forward reference that nothing resolves: its text has to do
        return dict(getattr(kind, "__annotations__", {}))


def _layout(kind: Any) -> str:
    """How a msgspec struct is encoded, and what stands for the fields that it leaves out."""
    if not hasattr(kind, "__struct_config__"):
        return ""
    config = kind.__struct_config__
    defaults = [repr(value) if isinstance(value, _PLAIN) else "..." for value in kind.__struct_defaults__]
    return f"{kind.__struct_encode_fields__}{defaults}{config.array_like}{config.tag_field}{config.tag}"


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else repr(kind)
