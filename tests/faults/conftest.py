"""Places for logs, a database, and the figures of the run."""

from __future__ import annotations

import statistics
import uuid
from collections import defaultdict
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.faults.fleet", "tests.faults.places", "tests.faults.process")

from tests.faults.database import Database  # noqa: E402
from tests.faults.places import Place, RedisPlace, SqlitePlace  # noqa: E402
from tests.servers.valkey import RedisServer, ValkeyServer  # noqa: E402

_figures: defaultdict[str, list[float]] = defaultdict(list)


@pytest.fixture
def figures() -> defaultdict[str, list[float]]:
    """Seconds measured, by what they are; shown at the end of the run."""
    return _figures


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """What the caches of one test cache."""
    return Database(tmp_path / "database")


@pytest.fixture(params=["redis", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A log and an L2 of its own on each broker."""
    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "cache.db")
    server: RedisServer = request.getfixturevalue("valkey")
    return RedisPlace(server.url, f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def sqlite_place(tmp_path: Path) -> SqlitePlace:
    """A file of its own."""
    return SqlitePlace(tmp_path / "cache.db")


@pytest.fixture
def redis_place(own_valkey: ValkeyServer) -> RedisPlace:
    """On a server of its own."""
    return RedisPlace(own_valkey.url, "test")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("seconds until fresh everywhere")
    for name, values in sorted((name, values) for name, values in _figures.items() if values):
        p50, worst = statistics.median(values), max(values)
        terminalreporter.write_line(f"{name:60} n={len(values):3}  p50 {p50:6.3f}  max {worst:6.3f}")
