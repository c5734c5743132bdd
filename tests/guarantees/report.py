"""Fills the table of the promises while pytest runs, and writes it where `--guarantees` is given."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from async_hybrid_cache.testing.promises import shown_by
from tests.guarantees.faults import FAULTS
from tests.guarantees.page import PAGE, written
from tests.guarantees.table import PROMISES, Cell, Guarantees

__all__ = ["GuaranteesReport"]

_MARK = "promise"
_BROKERS = {"memory": "memory", "sqlite": "sqlite", "valkey": "redis"} | {
    name: name for name in ("redis", "nats", "kafka")
}


class GuaranteesReport:
    """A pytest plugin. Tests that show a promise can be chosen with `-m promise`."""

    def __init__(self) -> None:
        self._guarantees = Guarantees()

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", f"{_MARK}: set on tests that show a promise")

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Tell each test what it shows, for its report, which may be read in another process."""
        if isinstance(item, pytest.Function) and (cells := list(_cells(item))):
            item.add_marker(_MARK)
            # plain tuples, which is what gets from one process to another
            item.user_properties.append((_MARK, [tuple(cell) for cell in cells]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of setup and teardown only what went wrong counts."""
        if report.when == "call" or not report.passed:
            for cell in dict(report.user_properties).get(_MARK, ()):  # type: ignore[attr-defined]
                self._guarantees.add(Cell(*cell), report.passed)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        """Write the page."""
        if config.getoption("--guarantees"):
            PAGE.write_text(written(PAGE.read_text(), self._guarantees.markdown))
            terminalreporter.write_line(f"wrote {PAGE}")


def _cells(item: pytest.Function) -> Iterator[Cell]:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    for shown in shown_by(item.function):
        fault = shown.fault.format_map(parameters)
        if shown.number not in PROMISES or fault not in FAULTS:
            raise pytest.UsageError(
                f"{item.nodeid} shows promise {shown.number} under {fault!r}: no place in the table"
            )
        yield Cell(shown.number, fault, _broker(item), _file(item), item.originalname)


def _broker(item: pytest.Function) -> str:
    """Its parameter, or else what a fixture or its file is named after."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    names = [*(each for each in parameters if isinstance(each, str)), *item.fixturenames, item.path.stem]
    words = (word for name in names for word in re.split("[_-]", name))
    broker = next((_BROKERS[word] for word in words if word in _BROKERS), None)
    if broker is None:
        raise pytest.UsageError(f"{item.nodeid} shows a promise, and nothing says on which broker")
    return broker


def _file(item: pytest.Function) -> str:
    code = inspect.unwrap(item.function).__code__
    return str(Path(code.co_filename).relative_to(item.config.rootpath))
