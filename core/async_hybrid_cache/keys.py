"""Keys: from a template, from a function of the arguments, or from the arguments themselves."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import hashlib
import inspect
import json
import string
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .errors import ConfigurationError

__all__ = ["encode_argument", "key_expression"]

KEY = "__ahc_key"
"""The name under which generated code finds the key function, or `encode_argument`."""

PREFIXES: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
"""What stands before a parameter of that kind."""

_LONGEST = 200
_SELF_DESCRIBING = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)


def key_expression(
    key: str | Callable[..., str] | None, parameters: list[inspect.Parameter], name: str
) -> tuple[str, Callable[..., Any]]:
    """The source of an expression that gives the key from a function's own parameters, and what it calls.

    `parameters` are those of the function `name`, without `self`. Raises `ConfigurationError` for a template
    with an unknown name, or a key function that cannot take the arguments.
    """
    if isinstance(key, str):
        return _template(key, [p.name for p in parameters], name), encode_argument
    if key is not None:
        return _call(key, parameters, name), key
    return _automatic(parameters), _fold


def _template(template: str, names: list[str], function: str) -> str:
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"the key template {template!r} of {function} is malformed: {error}") from error
    source = []
    for literal, field, spec, conversion in pieces:
        source.append(json.dumps(literal, ensure_ascii=False)[1:-1].replace("{", "{{").replace("}", "}}"))
        if field is None:
            continue
        root, *attributes = field.split(".")
        if root not in names or not all(part.isidentifier() for part in attributes):
            known = ", ".join(f"{{{n}}}" for n in names) or "none"
            raise ConfigurationError(
                f"the key template {template!r} of {function} names {{{field}}}; its parameters are: {known}"
            )
        if spec and not set(spec).isdisjoint('{}"\\\r\n'):
            raise ConfigurationError(f"the key template {template!r} of {function} has a format {spec!r} of no use")
        source.append(f"{{{field}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}")
    expression = f'f"{"".join(source)}"'
    try:
        compile(expression, "<key template>", "eval")
    except (SyntaxError, UnicodeEncodeError) as error:
        raise ConfigurationError(f"the key template {template!r} of {function} is malformed: {error}") from error
    return expression


def _call(key: Callable[..., str], parameters: list[inspect.Parameter], function: str) -> str:
    if inspect.iscoroutinefunction(key) or inspect.iscoroutinefunction(type(key).__call__):
        raise ConfigurationError(f"the key of {function} must be a plain function, not a coroutine function")
    try:
        wanted = list(inspect.signature(key).parameters.values())
    except (TypeError, ValueError):  # some builtins, such as str
        return f"{KEY}({_arguments(parameters)})"
    own = {p.name for p in parameters}
    plain = [p for p in wanted if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(plain) < len(wanted):
        return f"{KEY}({_arguments(parameters)})"
    if all(p.name in own or p.default is not p.empty for p in plain):
        taken = [p for p in plain if p.name in own]
        return f"{KEY}({', '.join(n if p.kind is p.POSITIONAL_ONLY else f'{n}={n}' for p in taken for n in [p.name])})"
    if all(p.kind is not p.KEYWORD_ONLY for p in plain):
        required = [p for p in plain if p.default is p.empty]
        if len(required) <= len(parameters) <= len(plain):
            return f"{KEY}({', '.join(p.name for p in parameters)})"
    raise ConfigurationError(
        f"the key function of {function} takes ({', '.join(p.name for p in wanted)}), "
        f"but {function} has ({', '.join(p.name for p in parameters)}); give it the same parameters, or some of them"
    )


def _arguments(parameters: list[inspect.Parameter]) -> str:
    return ", ".join(
        f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else f"{PREFIXES.get(p.kind, '')}{p.name}" for p in parameters
    )


def _automatic(parameters: list[inspect.Parameter]) -> str:
    if not parameters:
        return '"()"'
    return f"{KEY}(({', '.join(p.name for p in parameters)},))"


def _fold(values: tuple[Any, ...]) -> str:
    try:
        key = ",".join([encode_argument(value) for value in values])
    except RecursionError as error:
        raise ConfigurationError("no key can be built from an argument that contains itself") from error
    if len(key) <= _LONGEST:
        return key
    # readable at its beginning, and as distinct as what it stands for
    return f"{key[:64]}~{hashlib.blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def encode_argument(value: Any) -> str:
    """A text for an argument: the same in every process, and different for what differs (1, True, 1.0, "1").

    Raises `ConfigurationError` for a value that has no such text, such as an open connection.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or kind is float or kind is bytes or value is None:
        return repr(value)
    if isinstance(value, enum.Enum):
        # combined flags, and none of them, have no name
        return f"{_name(kind)}.{value.name or encode_argument(value.value)}"
    if isinstance(value, (list, tuple)) and kind in (list, tuple):
        left, right = "[]" if kind is list else "()"
        return left + ",".join([encode_argument(item) for item in value]) + right
    if kind in (set, frozenset):
        return f"{kind.__name__}{{{','.join(sorted(encode_argument(item) for item in value))}}}"
    if isinstance(value, Mapping):
        pairs = sorted(f"{encode_argument(k)}:{encode_argument(v)}" for k, v in value.items())
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, _SELF_DESCRIBING):
        return repr(value)
    fields = _fields(value)
    if fields is not None:
        return f"{_name(kind)}({encode_argument(fields)})"
    raise ConfigurationError(
        f"no key can be built from an argument of type {_name(kind)}; "
        'give the cached function a key, e.g. "user:{user_id}", that leaves it out'
    )


def _fields(value: Any) -> dict[str, Any] | None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    # a named tuple, or a pydantic model, which core does not import
    names = getattr(value, "_fields", None) if isinstance(value, tuple) else getattr(type(value), "model_fields", None)
    if names is None:
        return None
    extra = getattr(value, "__pydantic_extra__", None) or {}
    return {name: getattr(value, name) for name in names} | extra


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
