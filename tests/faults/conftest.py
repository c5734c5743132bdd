"""Places for logs, a database, and the figures of a test."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.outage.breakable import LockedFile
from tests.faults.database import Database
from tests.faults.figures import FIGURES
from tests.faults.places import KafkaPlace, Mortal, NatsPlace, Place, RedisPlace, Served, SqlitePlace
from tests.servers.kafka import KafkaServer
from tests.servers.server import LocalServer
from tests.servers.valkey import ValkeyServer


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Iterator[dict[str, list[float]]]:
    """Seconds measured, by what they are; shown at the end of the run."""
    measured: defaultdict[str, list[float]] = defaultdict(list)
    yield measured
    record_property(FIGURES, {name: values for name, values in measured.items() if values})


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """What the caches of one test cache."""
    return Database(tmp_path / "database")


_ON_SERVERS = {"redis": RedisPlace, "nats": NatsPlace, "kafka": KafkaPlace}
_FIXTURES = {"redis": "valkey", "nats": "nats", "kafka": "kafka"}


@pytest.fixture(params=["redis", "sqlite", "nats", "kafka"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A log of its own on each broker, and an L2 where that has one."""
    return _place(request, tmp_path)


@pytest.fixture(params=["redis", "sqlite", "nats"])
def l2_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A log and an L2 of its own on each broker that has one."""
    return _place(request, tmp_path)


def _place(request: pytest.FixtureRequest, folder: Path) -> Place:
    name: str = request.param
    if name == "sqlite":
        return SqlitePlace(folder / "cache.db")
    return _ON_SERVERS[name](request.getfixturevalue(_FIXTURES[name]).url, _unique())


def _unique() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def mortal_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker that tests may break one after the other, since it takes seconds to start."""
    with closing(KafkaServer(tmp_path_factory.mktemp("mortal-kafka"))) as server:
        server.open()
        yield server


@pytest.fixture(params=list(_ON_SERVERS))
def served(request: pytest.FixtureRequest) -> Served:
    """A server of each kind that is this test's alone, to be killed, frozen and restarted."""
    return _served(request)


def _served(request: pytest.FixtureRequest) -> Served:
    name: str = request.param
    server: LocalServer = request.getfixturevalue("mortal_kafka" if name == "kafka" else f"own_{_FIXTURES[name]}")
    if not server.answers():  # the test before failed and left it dead or frozen
        server.restart()
    return Served(name, server, _ON_SERVERS[name](server.url, _unique()))


@pytest.fixture(params=["sqlite", *_ON_SERVERS])
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Mortal:
    """A broker of each kind that this test may take away."""
    if request.param == "sqlite":
        file = SqlitePlace(tmp_path / "cache.db")
        return Mortal("sqlite", file, LockedFile(file.path))
    on_server = _served(request)
    return Mortal(on_server.name, on_server.place, on_server.server)


@pytest.fixture
def sqlite_place(tmp_path: Path) -> SqlitePlace:
    """A file of its own."""
    return SqlitePlace(tmp_path / "cache.db")


@pytest.fixture
def redis_place(own_valkey: ValkeyServer) -> RedisPlace:
    """On a server of its own."""
    return RedisPlace(own_valkey.url, "test")
