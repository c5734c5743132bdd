"""Which promise a test shows, and under which fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

__all__ = ["Shown", "promise", "shown_by"]

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__promises__"


class Shown(NamedTuple):
    """The promise of that number, under that fault."""

    number: int
    fault: str


def promise(number: int, *, fault: str) -> Callable[[F], F]:
    """The test shows that a promise of `docs/guarantees.md` holds under `fault`.

    `{name}` in `fault` stands for the value of that parameter of the test. May be used more than once on one test.
    No mark of pytest, so that it asks for no registration where the contracts are inherited.
    """

    def mark(test: F) -> F:
        setattr(test, _ATTRIBUTE, (Shown(number, fault), *shown_by(test)))
        return test

    return mark


def shown_by(test: Callable[..., Any]) -> tuple[Shown, ...]:
    """What `test` was said to show."""
    shown: tuple[Shown, ...] = getattr(test, _ATTRIBUTE, ())
    return shown
