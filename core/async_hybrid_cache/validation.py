"""Checks of options: one clear error that names the option, before anything starts."""

from __future__ import annotations

import math
import os
from typing import Any

from .errors import ConfigurationError
from .offers import offers

__all__ = ["checked_part", "folder", "int_from_0", "non_negative", "positive", "positive_int", "wrapper_of"]

# by the option, and the package that the client's class is from
_WRAPPERS = {
    ("invalidation_bus", "redis"): "RedisStreamsInvalidationBus(redis)",
    ("invalidation_bus", "nats"): "NatsInvalidationBus(servers)",
    ("invalidation_bus", "aiokafka"): "KafkaInvalidationBus(bootstrap_servers)",
    ("distributed_cache", "redis"): "RedisDistributedCache(redis)",
    ("distributed_cache", "nats"): "NatsKVDistributedCache(servers)",
}


def _number(name: str, value: Any, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} must be {wanted}, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigurationError(f"{name} must be {wanted}, and finite")
    return number


def non_negative(name: str, value: Any) -> float:
    """`value`, if it is a finite number of at least 0."""
    if _number(name, value, "a number of at least 0") < 0:
        raise ConfigurationError(f"{name} must be a number of at least 0, not {value!r}")
    return float(value)


def checked_part(name: str, value: object, kind: type) -> None:
    """Raise unless `value` is None or a `kind`; the value itself is not repeated, as it may hold a password."""
    if value is not None and not offers(value, kind):
        given = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        hint = "; for a URL use AsyncHybridCache.from_url(...)" if isinstance(value, str) else ""
        wrapper = wrapper_of(name, value)
        hint = f"; use {wrapper}" if wrapper else hint
        raise ConfigurationError(f"{name} must be {article} {kind.__name__} object, not {given}{hint}")


def wrapper_of(name: str, value: object) -> str | None:
    """What to give as the part `name` instead of `value`, if that is a server's bare client."""
    return _WRAPPERS.get((name, type(value).__module__.partition(".")[0]))


def folder(name: str, value: Any) -> str:
    """`value`, if it can be the path of a folder; absolute, since a program may change its working directory."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value) or "\0" in os.fsdecode(value):
        raise ConfigurationError(f"{name} must be the path of a folder, not {value!r}")
    return os.path.abspath(os.fsdecode(value))


def positive(name: str, value: Any) -> float:
    """`value`, if it is a finite number above 0."""
    if _number(name, value, "a number above 0") <= 0:
        raise ConfigurationError(f"{name} must be a number above 0, not {value!r}")
    return float(value)


def int_from_0(name: str, value: Any) -> int:
    """`value`, if it is a whole number of at least 0."""
    return 0 if value == 0 and type(value) is int else positive_int(name, value)


def positive_int(name: str, value: Any) -> int:
    """`value`, if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value
