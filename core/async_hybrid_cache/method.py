"""What `@cache.cached` leaves in a class: a descriptor, so that helpers can be reached through the instance."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["CachedMethod"]


class CachedMethod:
    """A cached method. `Class.method` is the function, `instance.method` knows its instance."""

    def __init__(self, function: Any) -> None:
        self._function = function
        functools.update_wrapper(self, function)
        # from 3.13 on @classmethod binds this very object, and `inspect` knows a coroutine function by these
        self.__code__ = function.__code__
        self.__defaults__ = function.__defaults__
        self.__kwdefaults__ = function.__kwdefaults__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self._function if instance is None else _Bound(self._function, instance)

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await self._function(*args, **kwargs)


class _Bound:
    """A bound cached method; has the attributes by which `inspect` knows a coroutine function."""

    __slots__ = ("__func__", "__self__")

    def __init__(self, function: Callable[..., Any], instance: Any) -> None:
        self.__func__ = function
        self.__self__ = instance

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await self.__func__(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__func__, name)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self.__func__.__doc__

    @property
    def __module__(self) -> str:  # type: ignore[override]
        return self.__func__.__module__

    @property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self.__func__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bound) and self.__func__ is other.__func__ and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((self.__func__, id(self.__self__)))

    def at_least(self, at: Any, /) -> Callable[..., Any]:
        """The same method, whose results hold every change up to a position."""
        return functools.partial(self.__func__.at_least(at), self.__self__)  # type: ignore[attr-defined]

    async def refresh_cached(self, *args: Any, **kwargs: Any) -> Any:
        """Load anew through this instance."""
        return await self.__func__.refresh_cached(self.__self__, *args, **kwargs)  # type: ignore[attr-defined]
