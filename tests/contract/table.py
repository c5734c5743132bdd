"""The contract as a table: its rows by the brokers that were run, and what is missing from it."""

from __future__ import annotations

from collections.abc import Iterator

from async_hybrid_cache.testing.log_contract import LogContract
from async_hybrid_cache.testing.log_world import FLAGS, Flag

__all__ = ["BROKERS", "Cell", "Table"]

BROKERS = ("memory", "sqlite", "redis", "nats", "kafka")
_MAY_LACK: dict[str, tuple[Flag, ...]] = {"memory": FLAGS, "sqlite": ("has_server", "has_credentials")}
_MARKS = {"passed": "yes", "failed": "FAILS", "skipped": "skipped", "": ""}


class Cell:
    """One row on one broker, which may be several tests."""

    def __init__(self) -> None:
        self.outcome = ""
        self.flag: Flag | None = None

    def add(self, outcome: str, reason: str) -> None:
        """One more outcome: the worst one stays."""
        flag = next((flag for flag in FLAGS if reason == f"Skipped: {flag} = False"), None)
        self.flag = flag or self.flag
        worst = ("failed", "skipped", "passed", "")
        self.outcome = min(self.outcome, outcome, key=worst.index)

    @property
    def mark(self) -> str:
        """What the table shows."""
        return "-" if self.flag and self.outcome == "skipped" else _MARKS[self.outcome]


class Table:
    """The outcome of every row, by part of the contract, on every broker."""

    def __init__(self, parts: tuple[type, ...] = LogContract.__bases__, brokers: tuple[str, ...] = BROKERS) -> None:
        self._parts = {part: [name for name in vars(part) if name.startswith("test_")] for part in parts}
        self._cells = {(row, broker): Cell() for rows in self._parts.values() for row in rows for broker in brokers}
        self._brokers = brokers

    def add(self, row: str, broker: str, outcome: str, reason: str = "") -> None:
        """One test of `row` on `broker` had `outcome`: `passed`, `failed` or `skipped`, and why."""
        if cell := self._cells.get((row, broker)):
            cell.add(outcome, reason)

    @property
    def empty(self) -> bool:
        """Whether nothing was run."""
        return not any(cell.outcome for cell in self._cells.values())

    def faults(self) -> Iterator[str]:
        """The cells that a whole run may not have: not run, or skipped for anything but a flag that may be missing."""
        for (row, broker), cell in self._cells.items():
            if not cell.outcome:
                yield f"{broker}: {_title(row)}: was not run"
            elif cell.outcome == "skipped" and cell.flag not in _MAY_LACK.get(broker, ()):
                yield f"{broker}: {_title(row)}: was skipped"

    def lines(self) -> Iterator[str]:
        """Plain text: the brokers and the rows that were run."""
        brokers = [broker for broker in self._brokers if any(self._cells[key].outcome for key in self._keys(broker))]
        yield " " * 78 + "".join(f"{broker:>8}" for broker in brokers)
        for part, rows in self._parts.items():
            run = [row for row in rows if any(self._cells[row, broker].outcome for broker in brokers)]
            if run:
                yield part.__name__
            for row in run:
                yield f"  {_title(row):76}" + "".join(f"{self._cells[row, broker].mark:>8}" for broker in brokers)

    def markdown(self) -> str:
        """The whole table for the documentation."""
        lines = [f"| | {' | '.join(self._brokers)} |", f"|---|{'---|' * len(self._brokers)}"]
        for part, rows in self._parts.items():
            lines.append(f"| **{_heading(part)}** |{' |' * len(self._brokers)}")
            for row in rows:
                marks = (self._cells[row, broker].mark for broker in self._brokers)
                lines.append(f"| {_title(row)} | {' | '.join(marks)} |")
        flags = "; ".join(f"{broker}: {', '.join(lacks)}" for broker, lacks in _MAY_LACK.items())
        return "\n".join([*lines, "", f"`-`: the broker has no such thing ({flags}).", ""])

    def _keys(self, broker: str) -> Iterator[tuple[str, str]]:
        return (key for key in self._cells if key[1] == broker)


def _title(row: str) -> str:
    return row.removeprefix("test_").replace("_", " ")


def _heading(part: type) -> str:
    return (part.__doc__ or part.__name__).splitlines()[0].rstrip(".")
