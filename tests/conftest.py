"""Servers for the whole suite. One that cannot be started fails its tests; none is ever skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# base classes and helpers hold asserts too
pytest.register_assert_rewrite("async_hybrid_cache.testing")

from tests.servers.valkey import RedisServer, ValkeyServer  # noqa: E402


@dataclass(frozen=True)
class ExternalServer:
    """A server that somebody else runs, e.g. by compose/redis.yaml."""

    url: str


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis-protocol server for all tests, which so use unique names: `TEST_REDIS_URL`, or our own."""
    if url := os.environ.get("TEST_REDIS_URL"):
        yield ExternalServer(url)
        return
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    server.open()
    yield server
    server.close()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server for this test alone, to be killed, frozen and restarted."""
    server = ValkeyServer(tmp_path / "valkey")
    server.open()
    yield server
    server.close()
