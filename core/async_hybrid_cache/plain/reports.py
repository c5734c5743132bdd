"""Overtaken values that were found and deleted, and are to be announced unless somebody else does it first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ..positions import Position
from .entry import Name

__all__ = ["Reports"]

_GRACE_SECONDS = 0.25


class Reports:
    """Names to be announced a little later than they were found, each once; bounded.

    All instances look at a key when they hear of its removal, and find the same value. The first to announce it spares
    the others, and none does so while all of them load: what they fill would be overtaken by the announcement.
    """

    def __init__(self, now: Callable[[], float], max_names: int = 16_384) -> None:
        self._now = now
        self._max = max_names
        self._due: OrderedDict[Name, tuple[float, Position]] = OrderedDict()

    def add(self, name: Name, position: Position) -> None:
        """It was found when the newest change of it that was known was at `position`."""
        self._due.setdefault(name, (self._now() + _GRACE_SECONDS, position))

    def cancel(self, name: Name, position: Position) -> None:
        """A change of it was announced at `position`; that of what is known already, as an echo, does not count."""
        _, known = self._due.get(name, (0.0, position))
        if known < position:
            del self._due[name]

    def take(self, *, all_of_them: bool) -> list[Name]:
        """Those that are due, or that there is no room for; they are not kept."""
        now, surplus = self._now(), len(self._due) - self._max
        taken = [
            name
            for number, (name, (due, _)) in enumerate(self._due.items())
            if all_of_them or due <= now or number < surplus
        ]
        for name in taken:
            del self._due[name]
        return taken
