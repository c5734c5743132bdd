"""Whether an object offers what a protocol asks for: the same answer on every Python."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, TypeVar

__all__ = ["lacking", "offers"]

T = TypeVar("T")


def offers(value: object, kind: type[T]) -> TypeGuard[T]:
    """Whether `value` is an object with all that the protocol `kind` names, or an instance of the class `kind`.

    What it hands on to another object by `__getattr__` counts, as for a wrapper that traces calls; `isinstance` looks
    past that from Python 3.12 on.
    """
    if isinstance(value, type):
        return False
    return isinstance(value, kind) or (_is_protocol(kind) and not lacking(value, kind))


def lacking(value: object, kind: type[Any]) -> list[str]:
    """The names that the protocol `kind` has and `value` has not, in the order in which they are declared."""
    declared = {name: None for part in reversed(kind.__mro__) if _is_protocol(part) for name in vars(part)}
    return [name for name in declared if not name.startswith("_") and not hasattr(value, name)]


def _is_protocol(kind: type[Any]) -> bool:
    return Protocol in kind.__bases__
