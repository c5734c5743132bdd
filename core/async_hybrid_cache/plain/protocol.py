"""The least that an L2 can be, and what is made of what the user gives for one."""

from __future__ import annotations

import inspect
import random
from typing import Any, Protocol

from ..clock import Clock
from ..distributed import DistributedCache
from ..errors import ConfigurationError
from ..offers import lacking, offers
from ..validation import checked_part, wrapper_of
from .adapted import AdaptedCache

__all__ = ["PlainDistributedCache", "adapted"]

_CALLS: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "get": (("",), {}),
    "set": (("", ""), {"ttl_seconds": 1}),
    "delete": (("",), {}),
}
_SHAPES = "get(key), set(key, value, ttl_seconds) and delete(key)"
_LEASES = ("lease", "fill", "release")


class PlainDistributedCache(Protocol):
    """Text by key, shared by all instances: what a class of your own has to offer to serve as the L2.

    A `set` that has returned is what the next `get` finds, in whichever process. Keys are at most 200 characters of
    ASCII without spaces. A call raises where it cannot be done, and is cancelled where it takes too long.

    With an attribute `serializer`, that turns values into bytes; else MessagePack does. Only whoever made the object
    opens and closes what it uses.
    """

    async def get(self, key: str, /) -> Any:
        """What was last set under `key`, as that text or its UTF-8 bytes; None where there is nothing."""
        ...

    async def set(self, key: str, value: str, /, *, ttl_seconds: float) -> Any:
        """Keep `value`, for `ttl_seconds` (a whole number, at least 1) or longer."""
        ...

    async def delete(self, key: str, /) -> Any:
        """Let `key` be gone; it may be gone already."""
        ...


def adapted(cache: object, clock: Clock, rng: random.Random) -> DistributedCache | None:
    """`cache` as an L2; raises `ConfigurationError`, saying what is missing, where it cannot be one."""
    if cache is None or offers(cache, DistributedCache):
        return cache
    missing = [name for name in _CALLS if not callable(getattr(cache, name, None))]
    if isinstance(cache, type) or len(missing) == len(_CALLS) or wrapper_of("distributed_cache", cache):
        checked_part("distributed_cache", cache, DistributedCache)
    name = type(cache).__name__
    if missing and any(hasattr(cache, method) for method in _LEASES):
        whole = ", ".join(lacking(cache, DistributedCache))
        raise ConfigurationError(f"distributed_cache: {name} is no whole DistributedCache; it lacks {whole}")
    if missing:
        raise ConfigurationError(
            f"distributed_cache: {name} lacks {', '.join(missing)}; it needs async {_SHAPES}, "
            "or all of DistributedCache"
        )
    for method, (arguments, keywords) in _CALLS.items():
        function = getattr(cache, method)
        if not inspect.iscoroutinefunction(inspect.unwrap(function)):
            raise ConfigurationError(f"distributed_cache: {name}.{method} must be an 'async def'")
        try:
            inspect.signature(function).bind(*arguments, **keywords)
        except TypeError as error:
            raise ConfigurationError(
                f"distributed_cache: {name}.{method} cannot be called as it will be ({error}); it needs async {_SHAPES}"
            ) from None
    return AdaptedCache(cache, clock, rng)  # type: ignore[arg-type]
