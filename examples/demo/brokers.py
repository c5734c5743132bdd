"""Brokers by a bare name: `sqlite` is a file of the demo's own, any other a server that lives as long as the demo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from async_hybrid_cache import ConfigurationError

__all__ = ["NAMES", "ServerMissing", "running", "server_class"]

# found by name, since each needs a package of its own
_SERVERS = {
    "redis": "tests.servers.valkey:ValkeyServer",
    "nats": "tests.servers.nats:NatsServer",
    "kafka": "tests.servers.kafka:KafkaServer",
}
_FILE = "sqlite"

NAMES = (_FILE, *_SERVERS)


class ServerMissing(Exception):
    """A server that cannot be started here; the message says why."""


@contextmanager
def running(broker: str, folder: Path) -> Iterator[str]:
    """The URL of `broker`, which is a URL already or one of `NAMES`; a server keeps its data in `folder`.

    Raises `ConfigurationError` for another name, and `ServerMissing` where the server does not start.
    """
    if "://" in broker:
        yield broker
    elif broker == _FILE:
        yield f"sqlite:///{folder}/cache.db"
    else:
        server = server_class(broker)(folder / broker)
        print(f"       starting {broker}", flush=True)
        try:
            server.open()
        except Exception as error:
            raise ServerMissing(f"{broker} does not start: {error}") from error
        try:
            yield server.url
        finally:
            server.close()


def server_class(name: str) -> Any:
    """The class of `tests.servers` for one of `NAMES` that is a server; raises as `running` does."""
    if name not in _SERVERS:
        raise ConfigurationError(f"a broker is a URL, scheme://..., or one of {', '.join(NAMES)}")
    module, _, found = _SERVERS[name].partition(":")
    try:
        return getattr(import_module(module), found)
    except ImportError as error:
        raise ServerMissing(f"{name} needs the packages of the tests; run it with make demo ({error})") from error
