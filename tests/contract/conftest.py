"""The contract's table at the end of the run."""

from __future__ import annotations

import pytest

from tests.contract.report import ContractReport


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--contract-table", metavar="PATH", help="write the contract's table there, as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ContractReport())
