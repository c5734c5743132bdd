"""How entries are kept. Options left out are inherited: call, function or scope, cache, defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from .errors import ConfigurationError
from .validation import non_negative, positive

__all__ = ["CacheOptions", "EffectiveOptions", "is_outage"]


def is_outage(error: BaseException) -> bool:
    """The default rule of `fail_safe_on`: an error is an outage unless it carries a `status_code` below 500.

    FastAPI's and httpx's exceptions for "not found" or "forbidden" are answers; a stale value must not hide them.
    """
    status = getattr(error, "status_code", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return not (isinstance(status, int) and status < 500)


class EffectiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Every option with a value: what is left after inheritance."""

    ttl_seconds: float = 60.0
    fail_safe_seconds: float = 300.0
    fail_safe_throttle_seconds: float = 2.0
    fail_safe_on: Callable[[BaseException], bool] = is_outage
    hard_timeout_seconds: float | None = 5.0
    jitter_seconds: float = 0.0
    lru_max_keys: int | None = 10_000
    copy_on_hit: bool = True
    max_staleness_seconds: float | None = 10.0
    on_stale: Literal["load", "raise", "serve"] = "load"

    @property
    def staleness_bound(self) -> float | None:
        """How long a value is served while nothing is heard; None where that has no bound."""
        return None if self.on_stale == "serve" else self.max_staleness_seconds

    def override(self, options: CacheOptions | None) -> EffectiveOptions:
        """These options with whatever `options` sets in place of them."""
        if options is None:
            return self
        if not isinstance(options, CacheOptions):
            raise ConfigurationError(f"options must be CacheOptions(...), not {type(options).__name__}")
        changes = {
            name: value for name in EffectiveOptions.__struct_fields__ if (value := getattr(options, name)) is not UNSET
        }
        return msgspec.structs.replace(self, **changes) if changes else self


class CacheOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a cache, a scope, a cached function or one call; those left out are inherited.

    - `ttl_seconds` (default 60): how long an entry is fresh. 0 loads every time.
    - `fail_safe_seconds` (300): how much longer it may stand in for a loader that fails or times out.
    - `fail_safe_throttle_seconds` (2): after such a failure, how long the stale value is served untried.
    - `fail_safe_on` (`is_outage`): tells an outage (stale value) from an answer (goes to the caller, and the
      entry is dropped).
    - `hard_timeout_seconds` (5): how long callers wait for a loader; `None` for ever. The loader may go on for
      as long again in the background, then it is cancelled.
    - `jitter_seconds` (0): up to so much is added to each entry's TTL, so that entries do not expire together.
    - `lru_max_keys` (10 000): entries in this process per scope; `None` is unbounded, 0 keeps nothing.
    - `copy_on_hit` (True): mutable values are copied for every caller, so that nobody changes what is cached.
      False shares one object: faster for large values that nobody writes to.
    - `max_staleness_seconds` (10): for how long this process may serve a value after its removal elsewhere was
      acknowledged, even when it hears nothing; `None` for up to the TTL. Without a bus it means nothing.
    - `on_stale` (`load`): what a read does past that bound: `load` anew (a loader that fails may still be stood in
      for by fail-safe), `raise` `StaleError` where loading anew fails, or `serve` what is there.

    Raises `ConfigurationError` (a `CacheError`) naming the option when made.
    """

    ttl_seconds: float | UnsetType = UNSET
    fail_safe_seconds: float | UnsetType = UNSET
    fail_safe_throttle_seconds: float | UnsetType = UNSET
    fail_safe_on: Callable[[BaseException], bool] | UnsetType = UNSET
    hard_timeout_seconds: float | UnsetType | None = UNSET
    jitter_seconds: float | UnsetType = UNSET
    lru_max_keys: int | UnsetType | None = UNSET
    copy_on_hit: bool | UnsetType = UNSET
    max_staleness_seconds: float | UnsetType | None = UNSET
    on_stale: Literal["load", "raise", "serve"] | UnsetType = UNSET

    @property
    def bounds_staleness(self) -> bool:
        """Whether these options say anything about staleness."""
        return self.max_staleness_seconds is not UNSET or self.on_stale is not UNSET

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not UNSET:
                check(name, value)


def _positive_or_none(name: str, value: Any) -> None:
    if value is not None:
        positive(name, value)


def _count_or_none(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ConfigurationError(f"{name} must be a whole number of at least 0, or None for unbounded, not {value!r}")


def _predicate(name: str, value: Any) -> None:
    if not callable(value):
        raise ConfigurationError(f"{name} must be a function from an exception to a bool, not {value!r}")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {value!r}")


def _reaction(name: str, value: Any) -> None:
    if value not in _REACTIONS:
        raise ConfigurationError(f"{name} must be 'load', 'raise' or 'serve', not {value!r}")


_REACTIONS = ("load", "raise", "serve")
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "ttl_seconds": non_negative,
    "fail_safe_seconds": non_negative,
    "fail_safe_throttle_seconds": non_negative,
    "fail_safe_on": _predicate,
    "hard_timeout_seconds": _positive_or_none,
    "jitter_seconds": non_negative,
    "lru_max_keys": _count_or_none,
    "copy_on_hit": _flag,
    "max_staleness_seconds": _positive_or_none,
    "on_stale": _reaction,
}
