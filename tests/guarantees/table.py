"""Promise by fault by broker, each cell the tests that have shown it in this run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from tests.guarantees.faults import BROKERS, FAULTS

__all__ = ["NOT_SHOWN", "PROMISES", "Cell", "Guarantees"]

PROMISES = range(1, 10)
NOT_SHOWN = "**not shown**"


class Cell(NamedTuple):
    """What one test shows on one broker."""

    promise: int
    fault: str
    broker: str
    file: str
    test: str


class Guarantees:
    """A test with parameters has shown a cell when it passed with all that were run."""

    def __init__(self) -> None:
        self._passed: defaultdict[Cell, bool] = defaultdict(lambda: True)

    def add(self, cell: Cell, passed: bool) -> None:
        """One more test of `cell`."""
        self._passed[cell] = self._passed[cell] and passed

    def markdown(self, promise: int) -> str:
        """The table of one promise: the faults under which it was put to the test."""
        shown = {cell.fault for cell in self._passed if cell.promise == promise}
        lines = [f"| fault | {' | '.join(BROKERS)} |", f"|---|{'---|' * len(BROKERS)}"]
        for fault in sorted(shown, key=list(FAULTS).index):
            cells = (self._shown(promise, fault, broker) for broker in BROKERS)
            lines.append(f"| {fault} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def _shown(self, promise: int, fault: str, broker: str) -> str:
        tests = list(self._held(promise, fault, broker))
        return "<br>".join(tests) or FAULTS[fault].get(broker, NOT_SHOWN)

    def _held(self, promise: int, fault: str, broker: str) -> Iterator[str]:
        for cell in sorted(cell for cell, passed in self._passed.items() if passed):
            if cell[:3] == (promise, fault, broker):
                yield f"[{cell.test.removeprefix('test_').replace('_', ' ')}](../{cell.file})"
