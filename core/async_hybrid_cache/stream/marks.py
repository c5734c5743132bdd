"""Per-origin high-water marks: which events were applied, and whether one is missing."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum

from async_hybrid_cache_codecs.frames import OpenedFrame

__all__ = ["Marks", "Verdict"]


class Verdict(Enum):
    """What a frame is, judged by its sequences."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    HOLE = "hole"


class Marks:
    """The newest sequence applied of each origin, for at most `max_origins` origins."""

    __slots__ = ("_forgiven", "_marks", "_max")

    def __init__(self, max_origins: int = 4096) -> None:
        self._marks: OrderedDict[str, int] = OrderedDict()
        self._max = max_origins
        self._forgiven: set[str] = set()

    def __len__(self) -> int:
        return len(self._marks)

    def judge(self, frame: OpenedFrame, *, strangers: bool) -> Verdict:
        """Whether `frame` follows what was applied of its origin.

        `strangers` tells whether an origin may be met in the middle: soon after anchoring it may, later every
        live origin has been heard of, and its beginning was dropped by the log.
        """
        mark = self._marks.get(frame.origin)
        if mark is None:
            return Verdict.NEXT if strangers or frame.first == 1 else Verdict.HOLE
        if frame.last <= mark:
            return Verdict.DUPLICATE
        return Verdict.NEXT if frame.first <= mark + 1 or frame.origin in self._forgiven else Verdict.HOLE

    def mark(self, origin: str, last: int) -> None:
        """Note that the events of `origin` up to `last` were applied."""
        self._forgiven.discard(origin)
        self._marks[origin] = max(last, self._marks.get(origin, 0))
        self._marks.move_to_end(origin)
        if len(self._marks) > self._max:
            self._marks.popitem(last=False)

    def get(self, origin: str) -> int:
        """The newest sequence applied of `origin`, 0 for none."""
        return self._marks.get(origin, 0)

    def load(self, marks: dict[str, int]) -> None:
        """Replace all marks by those of a checkpoint."""
        self._marks = OrderedDict(marks)
        self._forgiven.clear()

    def forgive(self) -> None:
        """Events of every origin may be missing, which is known: the next of each may follow after a hole."""
        self._forgiven = set(self._marks)

    def forgive_no_more(self) -> None:
        """What is missing from now on is not known."""
        self._forgiven.clear()

    def dump(self) -> dict[str, int]:
        """All marks, for a checkpoint."""
        return dict(self._marks)
