"""The kind of server behind a name: a local process, or a container where `SERVERS=docker` asks for one."""

from __future__ import annotations

import os
from importlib import import_module

from .server import LocalServer

__all__ = ["server_kind"]

_NAMES = {"valkey": "Valkey", "nats": "Nats", "kafka": "Kafka", "postgres": "Postgres"}


def server_kind(name: str) -> type[LocalServer]:
    """The class of `valkey`, `nats`, `kafka` or `postgres`; imports the packages of that one alone."""
    match os.environ.get("SERVERS", "local"):
        case "local" | "":
            kind = getattr(import_module(f"tests.servers.{name}"), f"{_NAMES[name]}Server")
        case "docker":
            kind = getattr(import_module("tests.servers.containers"), f"{_NAMES[name]}Container")
        case other:
            raise ValueError(f"SERVERS is 'local' or 'docker', not {other!r}")
    return kind  # type: ignore[no-any-return]
