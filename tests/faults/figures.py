"""What tests measured, at the end of the run: seconds by kind of fault, and what they `record_property` as measured."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import PurePath

import pytest

__all__ = ["FIGURES", "FiguresReport"]

FIGURES = "figures"
_MEASURED = "measured"


class FiguresReport:
    """A pytest plugin. Tests carry what they measured in their reports, whichever process ran them."""

    def __init__(self) -> None:
        self._figures: defaultdict[str, list[float]] = defaultdict(list)
        self._measured: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The fixture hands them over when its test has ended."""
        if report.when == "teardown":
            found: dict[str, list[float]] = dict(report.user_properties).get(FIGURES, {})
            for name, values in found.items():
                self._figures[name] += values
            place = PurePath(report.nodeid.partition("::")[0]).stem
            self._measured += [f"{place}: {value}" for name, value in report.user_properties if name == _MEASURED]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One line for each kind of fault, and for each thing that a test measured."""
        if self._figures:
            terminalreporter.section("seconds until fresh everywhere")
        for name, values in sorted(self._figures.items()):
            p50, worst = statistics.median(values), max(values)
            terminalreporter.write_line(f"{name:60} n={len(values):3}  p50 {p50:6.3f}  max {worst:6.3f}")
        if self._measured:
            terminalreporter.section("measured")
        for line in sorted(self._measured):
            terminalreporter.write_line(line)
