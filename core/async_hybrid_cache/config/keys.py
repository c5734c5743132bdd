"""The keys of a configuration and their types, taken from the code that they configure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UnsetType

from ..bus import StreamOptions
from ..errors import ConfigurationError
from ..options import CacheOptions
from ..validation import positive

__all__ = ["PREFIX", "SECTIONS", "VARIABLES", "Setting", "checked", "in_code_only", "nearest", "shown", "wanted"]

PREFIX = "ASYNC_HYBRID_CACHE_"

Types = dict[str, Any]


class Setting(NamedTuple):
    """One value that was found: under which key, where, and whether that place holds nothing but text."""

    path: tuple[str, ...]
    value: Any
    place: str
    text: bool = False

    @property
    def name(self) -> str:
        """The key with its path, as in `options.ttl_seconds`."""
        return ".".join(shown(part) for part in self.path)


def _plain(kind: Any) -> Any:
    """`kind` without the mark for what was left out."""
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(member for member in get_args(kind) if member is not UnsetType)]  # noqa: UP007
    return kind


_TOP: Types = {
    "bus": str | None,
    "l2": str | None,
    "namespace": str,
    "require_bus": bool,
    "distributed_timeout_seconds": float,
    "lease_seconds": float,
    "snapshot": str,
    "snapshot_seconds": float,
}
_OPTIONS: Types = {field.name: _plain(field.type) for field in msgspec.structs.fields(CacheOptions)}
# an object in code and its URL here; a path; one of a few words
_AS_TEXT: Types = {"checkpoints": str | None, "outbox": str | None, "on_log_failure": str}
_STREAM: Types = {
    name: _AS_TEXT.get(name, kind) for name, kind in get_type_hints(StreamOptions.__init__).items() if name != "return"
}

SECTIONS: dict[str, Types] = {"": _TOP, "options": _OPTIONS, "stream": _STREAM}
"""The types of the keys, by the table that they are in."""


def in_code_only(kind: Any) -> bool:
    """Whether no text can stand for a value of this type."""
    return get_origin(kind) not in (None, Literal, Union, UnionType)


VARIABLES: dict[str, tuple[str, ...]] = {
    PREFIX + "__".join(path).upper(): path
    for section, types in SECTIONS.items()
    for name, kind in types.items()
    if not in_code_only(kind)
    for path in [(section, name) if section else (name,)]
}
"""The variables of the environment, and the keys that they stand for."""

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "distributed_timeout_seconds": positive,
    "lease_seconds": positive,
    "snapshot_seconds": positive,
}
_KINDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "none"}


def wanted(kind: Any) -> str:
    """What a value of this type looks like."""
    if in_code_only(kind):
        return "a function"
    if get_origin(kind) is Literal:
        return " or ".join(f"'{name}'" for name in get_args(kind))
    members = get_args(kind) or (kind,)
    if str in members:
        return _KINDS[str]  # "none" may be a name
    return " or ".join(f"'{_KINDS[one]}'" if one is type(None) else _KINDS[one] for one in members)


def shown(key: object) -> str:
    """`key` as an error may repeat it: something that is no name at all could hold a password."""
    return key if isinstance(key, str) and len(key) <= 64 and key.replace("-", "_").isidentifier() else "<not a name>"


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` begins, or else the one that looks most like it."""
    names = list(known)
    begun = [one for one in names if one.startswith(name)]
    return get_close_matches(name, begun or names, n=1, cutoff=0.0)[0]


def checked(setting: Setting, section: str) -> Any:
    """The value of a setting that is known, in its type; raises `ConfigurationError` naming key, place and fix.

    A value of the wrong type is not repeated, as it may be a credential that went astray.
    """
    name = setting.path[-1]
    value = _typed(setting, SECTIONS[section][name])
    try:
        if section == "options":
            CacheOptions(**{name: value})
        elif section == "stream" and name != "checkpoints":
            StreamOptions(**{name: value})
        elif name in _CHECKS:
            _CHECKS[name](name, value)
    except ConfigurationError as error:
        told = str(error).removeprefix(name)
        raise ConfigurationError(f"{setting.name}{told} ({setting.place})") from None
    return value


def _typed(setting: Setting, kind: Any) -> Any:
    value = setting.value
    if in_code_only(kind):
        if callable(value):
            return value
        raise ConfigurationError(f"{setting.name} is a function and can be given in code only ({setting.place})")
    members = get_args(kind) or (kind,)
    if type(None) in members and str not in members and isinstance(value, str) and value.lower() == "none":
        return None  # TOML has no null
    if str in members and value == "":
        raise ConfigurationError(f"{setting.name} is empty; leave it out for its default ({setting.place})")
    try:
        return msgspec.convert(value, kind, strict=not setting.text)
    except msgspec.ValidationError:
        given = "" if setting.text else f", not {_KINDS.get(type(value), type(value).__name__)}"
        raise ConfigurationError(f"{setting.name} must be {wanted(kind)}{given} ({setting.place})") from None
