"""`@cache.cached`: a coroutine function that looks like the one it wraps, with the hit path compiled in."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, get_type_hints, overload

from .errors import ConfigurationError
from .keys import KEY, PREFIXES, key_expression
from .method import CachedMethod
from .receipt import At, Receipt, position_of

if TYPE_CHECKING:
    from .cache import AsyncHybridCache
    from .options import CacheOptions, EffectiveOptions

__all__ = ["CachedFunction", "build"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)

_RESERVED = "__ahc_"

_TEMPLATE = """\
def __ahc_make(__ahc_get, __ahc_now, __ahc_tick, __ahc_miss, {key}, {defaults}):
    async def {name}({signature}):
        __ahc_k = {expression}
        __ahc_e = __ahc_get(__ahc_k)
        if __ahc_e is not None and __ahc_now() < __ahc_e.fresh_until:
            __ahc_e.used = __ahc_tick()
            return __ahc_e.value if __ahc_e.copy is None else __ahc_e.copy(__ahc_e.value)
        return await __ahc_miss(__ahc_k, {args}, {kwargs})
    def __ahc_key_of({helper_signature}):
        return {expression}
    return {name}, __ahc_key_of
"""


class CachedFunction(Protocol[P, R_co]):
    """A cached coroutine function: called as before, with helpers that take the same arguments.

    On a method the helpers take the arguments without `self`, which is never part of a key.
    """

    __name__: str
    __wrapped__: Callable[..., Coroutine[Any, Any, Any]]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    def cache_key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key that a call with these arguments uses."""
        ...

    def remove_cached(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Receipt]:
        """`AsyncHybridCache.remove` for these arguments."""
        ...

    def set_cached(self, value: Any, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Receipt]:
        """`AsyncHybridCache.set` of `value` for these arguments."""
        ...

    def refresh_cached(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Load anew, past L1 and L2, keep the result in both, and return it."""
        ...

    def at_least(self, position: At, /) -> Callable[P, Coroutine[Any, Any, R_co]]:
        """The same function, whose results hold every change up to `position` (or its token, or a receipt)."""
        ...

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, R_co]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], R_co], instance: S, owner: type | None = None
    ) -> CachedFunction[Q, R_co]: ...


def build(
    cache: AsyncHybridCache,
    function: Callable[P, Awaitable[R]],
    key: str | Callable[..., str] | None,
    scope_name: str | None,
    options: CacheOptions | None,
) -> CachedFunction[P, R]:
    """Wrap `function`; raises `ConfigurationError` for one that cannot be cached, or a key that does not fit it."""
    if isinstance(function, (staticmethod, classmethod)):
        raise ConfigurationError("put @cache.cached below @staticmethod or @classmethod, nearest to the function")
    label = getattr(function, "__qualname__", repr(function))
    if not inspect.isfunction(function) or not inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"{label} is not a coroutine function; define it with 'async def' to cache it")
    parameters = list(inspect.signature(function).parameters.values())
    is_method = _is_method(function, parameters)
    own = parameters[1:] if is_method else parameters
    if is_method and key is None:
        raise ConfigurationError(
            f"{label} is a method: self is never part of a key, so give one, e.g. "
            f'@cache.cached("{label.lower()}:{{{own[0].name if own else "..."}}}")'
        )
    if any(p.name.startswith(_RESERVED) for p in parameters):
        raise ConfigurationError(f"{label} has a parameter that begins with {_RESERVED}, which is reserved")
    expression, key_function = key_expression(key, own, label)
    scope = cache.scope_state(scope_name or default_scope(function), options if scope_name is None else None)
    if options is not None:
        scope.bound(options.lru_max_keys)
    annotation = functools.cache(lambda: _return_annotation(function))
    scope.serve(function.__code__, annotation)
    serializer = functools.cache(lambda: cache.serializer_for(annotation()))
    merged = [scope.options, scope.options.override(options)]
    cache.abide(scope, merged[1])

    def effective() -> EffectiveOptions:
        # the scope may be given options of its own after the function was decorated
        if merged[0] is not scope.options:
            merged[:] = scope.options, scope.options.override(options)
        return merged[1]

    def miss(key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        return cache.load(scope, key, lambda: function(*args, **kwargs), effective(), serializer)

    wrapper, key_of = _compile(function, parameters, own, expression, key_function, scope.store, cache.monotonic, miss)
    functools.update_wrapper(wrapper, function)
    key_of.__qualname__ = f"{label}.cache_key"

    def cache_key(*args: Any, **kwargs: Any) -> str:
        return checked_key(key_of(*args, **kwargs))

    async def remove_cached(*args: Any, **kwargs: Any) -> Receipt:
        return await cache.remove(cache_key(*args, **kwargs), scope=scope.name)

    async def set_cached(value: Any, /, *args: Any, **kwargs: Any) -> Receipt:
        return await cache.writes.store(scope, cache_key(*args, **kwargs), value, effective(), serializer)

    async def refresh_cached(*args: Any, **kwargs: Any) -> Any:
        # of a method these are the arguments with self, as `CachedMethod` passes them
        key = cache_key(*args[1:], **kwargs) if is_method else cache_key(*args, **kwargs)
        return await cache.refresh(scope, key, lambda: function(*args, **kwargs), effective(), serializer)

    def at_least(at: At, /) -> Callable[..., Coroutine[Any, Any, Any]]:
        position = position_of(at)

        async def read(*args: Any, **kwargs: Any) -> Any:
            key = cache_key(*args[1:], **kwargs) if is_method else cache_key(*args, **kwargs)
            if position is None:
                return await wrapper(*args, **kwargs)
            return await cache.load(scope, key, lambda: function(*args, **kwargs), effective(), serializer, position)

        return read

    for helper in (cache_key, remove_cached, set_cached, refresh_cached, at_least):
        helper.__qualname__ = f"{label}.{helper.__name__}"
        setattr(wrapper, helper.__name__, helper)
    return CachedMethod(wrapper) if is_method else wrapper  # type: ignore[return-value]


def checked_key(key: Any) -> str:
    """`key`, if it is one."""
    if type(key) is not str:
        raise ConfigurationError(f"a key must be a string, not {key!r}")
    if not key.isascii():
        try:
            key.encode()
        except UnicodeEncodeError as error:
            # no server and no log could be told of it
            raise ConfigurationError(f"a key must be text that UTF-8 can encode, not {key!r}") from error
    return key


def default_scope(function: Callable[..., Any]) -> str:
    """Module and qualified name; the module's real name also where it runs as `__main__`."""
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        path = getattr(main, "__file__", None)
        module = spec.name if spec else Path(path).stem if path else module
    return f"{module}.{function.__qualname__}"


def _is_method(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> bool:
    within = function.__qualname__.rpartition(".")[0]
    in_class = bool(within) and not within.endswith("<locals>")
    return in_class and bool(parameters) and parameters[0].name in ("self", "cls")


def _return_annotation(function: Callable[..., Any]) -> Any:
    try:
        return get_type_hints(function, include_extras=True).get("return", Any)
    except Exception:
        return Any


def _compile(
    function: Callable[..., Any],
    parameters: list[inspect.Parameter],
    own: list[inspect.Parameter],
    expression: str,
    key_function: Callable[..., Any],
    store: Any,
    now: Callable[[], float],
    miss: Callable[..., Any],
) -> tuple[Any, Callable[..., str]]:
    """Generate the wrapper with the function's exact parameters, as attrs generates methods."""
    defaults = {f"__ahc_d_{p.name}": p.default for p in parameters if p.default is not p.empty}
    positional = [p for p in parameters if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    keyword = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    args = "".join(f"{'*' if p.kind is p.VAR_POSITIONAL else ''}{p.name}, " for p in positional)
    kwargs = ", ".join(f"**{p.name}" if p.kind is p.VAR_KEYWORD else f"{p.name!r}: {p.name}" for p in keyword)
    name = function.__name__ if function.__name__.isidentifier() else "cached"
    source = _TEMPLATE.format(
        key=KEY,
        defaults=", ".join(defaults) or "__ahc_none",
        name=f"__ahc_{name}",
        signature=_signature(parameters),
        helper_signature=_signature(own),
        expression=expression,
        args=f"({args})",
        kwargs=f"{{{kwargs}}}",
    )
    namespace: dict[str, Any] = {}
    # in the function's own globals, so that its annotations resolve there (FastAPI looks them up)
    exec(compile(source, f"<cached {function.__qualname__}>", "exec"), function.__globals__, namespace)
    make = namespace["__ahc_make"]
    made: tuple[Any, Callable[..., str]] = make(
        store.entries.get, now, store.tick, miss, key_function, *(defaults.values() or (None,))
    )
    return made


def _signature(parameters: list[inspect.Parameter]) -> str:
    parts: list[str] = []
    kinds = [p.kind for p in parameters]
    for index, p in enumerate(parameters):
        if p.kind is p.KEYWORD_ONLY and p.VAR_POSITIONAL not in kinds[:index] and "*" not in parts:
            parts.append("*")
        prefix = PREFIXES.get(p.kind, "")
        default = "" if p.default is p.empty else f"=__ahc_d_{p.name}"
        parts.append(f"{prefix}{p.name}{default}")
        if p.kind is p.POSITIONAL_ONLY and kinds[index + 1 : index + 2] != [p.POSITIONAL_ONLY]:
            parts.append("/")
    return ", ".join(parts)
