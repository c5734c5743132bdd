"""Servers for the whole suite, and what is told at its end.

A server that cannot be started fails its tests; none is ever skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

# base classes and helpers hold asserts too
pytest.register_assert_rewrite(
    "async_hybrid_cache.testing",
    "tests.faults.child",
    "tests.faults.fleet",
    "tests.faults.places",
    "tests.faults.process",
)

from tests.contract.report import ContractReport  # noqa: E402
from tests.faults.figures import FiguresReport  # noqa: E402
from tests.guarantees.report import GuaranteesReport  # noqa: E402
from tests.servers.external import ExternalServer  # noqa: E402
from tests.servers.kinds import server_kind  # noqa: E402
from tests.servers.server import LocalServer, Server  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--contract-table", metavar="PATH", help="write the contract's table there, as Markdown")
    parser.addoption("--guarantees", action="store_true", help="write the tables in docs/guarantees.md from this run")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ContractReport())
    config.pluginmanager.register(FiguresReport())
    config.pluginmanager.register(GuaranteesReport())


def _own(kind: str, folder: Path) -> Iterator[LocalServer]:
    with closing(server_kind(kind)(folder / kind)) as server:
        server.open()
        yield server


def _shared(kind: str, variable: str, folders: pytest.TempPathFactory) -> Iterator[Server]:
    if url := os.environ.get(variable):
        yield ExternalServer(url)
    else:
        yield from _own(kind, folders.mktemp("shared"))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis-protocol server for all tests, which so use unique names: `TEST_REDIS_URL`, or our own."""
    yield from _shared("valkey", "TEST_REDIS_URL", tmp_path_factory)


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A NATS server with JetStream for all tests: `TEST_NATS_URL`, or our own."""
    yield from _shared("nats", "TEST_NATS_URL", tmp_path_factory)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Kafka broker for all tests: `TEST_KAFKA_URL`, or our own."""
    yield from _shared("kafka", "TEST_KAFKA_URL", tmp_path_factory)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL for all tests: `TEST_POSTGRES_URL`, or our own."""
    yield from _shared("postgres", "TEST_POSTGRES_URL", tmp_path_factory)


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[LocalServer]:
    """A Redis-protocol server for this test alone, to be killed, frozen and restarted."""
    yield from _own("valkey", tmp_path)


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[LocalServer]:
    """A NATS server for this test alone, to be killed, frozen and restarted."""
    yield from _own("nats", tmp_path)


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[LocalServer]:
    """A Kafka broker for this test alone, to be killed, frozen and restarted."""
    yield from _own("kafka", tmp_path)


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[LocalServer]:
    """A PostgreSQL for this test alone, to be killed, frozen and restarted."""
    yield from _own("postgres", tmp_path)
