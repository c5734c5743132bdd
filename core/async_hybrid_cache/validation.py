"""Checks of options: one clear error that names the option, before anything starts."""

from __future__ import annotations

import math
from typing import Any

from .errors import ConfigurationError

__all__ = ["non_negative", "positive", "positive_int"]


def _number(name: str, value: Any, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigurationError(f"{name} must be {wanted}, not {value!r}")
    return value


def non_negative(name: str, value: Any) -> float:
    """`value`, if it is a finite number of at least 0."""
    if _number(name, value, "a number of at least 0") < 0:
        raise ConfigurationError(f"{name} must be a number of at least 0, not {value!r}")
    return float(value)


def positive(name: str, value: Any) -> float:
    """`value`, if it is a finite number above 0."""
    if _number(name, value, "a number above 0") <= 0:
        raise ConfigurationError(f"{name} must be a number above 0, not {value!r}")
    return float(value)


def positive_int(name: str, value: Any) -> int:
    """`value`, if it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value
