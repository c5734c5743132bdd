from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.e2e.environments import ROOT, built
from tests.servers.server import Server

BROKERS = {"sqlite": None, "redis": "valkey", "nats": "nats", "kafka": "kafka"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release is."""
    return built(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(params=BROKERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A broker's, and of an L2 too, where that kind of server has one."""
    fixture = BROKERS[request.param]
    if fixture is None:
        return f"sqlite:///{tmp_path}/cache.db"
    server: Server = request.getfixturevalue(fixture)
    return server.url


@pytest.fixture
def namespace() -> str:
    return f"n{uuid.uuid4().hex}"
