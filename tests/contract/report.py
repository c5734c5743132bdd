"""Fills the contract's table while pytest runs, and shows it at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache.testing import LogContract
from tests.contract.table import Table

__all__ = ["ContractReport"]

_FOLDER = Path(__file__).parent


_CELL = "contract cell"


class ContractReport:
    """A pytest plugin. Where the whole folder was run, a cell that was not, or not rightly, fails the run.

    Tests carry their cell in their reports, so that it does not matter which process ran them.
    """

    def __init__(self) -> None:
        self.table = Table()
        self._partial = False
        self._faults: list[str] = []

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """A run of a part misses rows on purpose."""
        self._partial = self._partial or bool(items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell each test which cell it belongs to."""
        for item in session.items:
            if isinstance(item, pytest.Function) and item.cls is not None and issubclass(item.cls, LogContract):
                broker = item.path.stem.removeprefix("test_").removesuffix("_log")
                item.user_properties.append((_CELL, (item.originalname, broker)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of setup and teardown only what went wrong counts."""
        cell: tuple[str, str] | None = dict(report.user_properties).get(_CELL)
        if cell is not None and (report.when == "call" or not report.passed):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            self.table.add(*cell, report.outcome, reason)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge a whole run, in the process that hears of all tests."""
        output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_CELL] = self._partial
        elif self._is_whole(session):
            self._faults = list(self.table.faults())
        if self._faults:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist alone knows what was deselected there."""
        self._partial = self._partial or getattr(node, "workeroutput", {}).get(_CELL, False)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Show the table, and write it where `--contract-table` says."""
        if self.table.empty:
            return
        terminalreporter.section("contract")
        for line in self.table.lines():
            terminalreporter.write_line(line)
        for fault in self._faults:
            terminalreporter.write_line(f"ERROR {fault}", red=True)
        if path := config.getoption("--contract-table"):
            Path(path).write_text(self.table.markdown())

    def _is_whole(self, session: pytest.Session) -> bool:
        asked = [Path(argument).resolve() for argument in session.config.args]
        whole = any(path == _FOLDER or path in _FOLDER.parents for path in asked)
        return whole and not self.table.empty and not self._partial
