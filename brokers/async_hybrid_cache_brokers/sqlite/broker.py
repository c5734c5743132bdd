"""`sqlite:///relative.db` and `sqlite:////absolute/path.db` to a bus and an L2."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TypedDict
from urllib.parse import parse_qsl, unquote, urlsplit

from async_hybrid_cache.bus import InvalidationBus, StreamOptions
from async_hybrid_cache.distributed import DistributedCache
from async_hybrid_cache.errors import ConfigurationError

from .bus import SqliteInvalidationBus
from .checkpoints import SqliteCheckpointStore
from .distributed import SqliteDistributedCache

__all__ = ["BROKER"]


class _Retention(TypedDict, total=False):
    retention_records: int
    retention_seconds: float


class _SqliteBroker:
    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> InvalidationBus:
        """The log in the file of the URL; `retention_records` and `retention_seconds` may be in its query."""
        return SqliteInvalidationBus(_path(url, namespace), **_retention(url), stream=stream)

    def distributed_cache(self, url: str, *, namespace: str) -> DistributedCache | None:
        """The L2 in the same file."""
        _retention(url)  # one URL serves both, so its query is the bus's and is checked here too
        return SqliteDistributedCache(_path(url, namespace))

    def checkpoints(self, url: str, *, namespace: str) -> SqliteCheckpointStore:
        """The checkpoints in the same file."""
        _retention(url)
        return SqliteCheckpointStore(_path(url, namespace))


def _path(url: str, namespace: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc or parts.fragment or len(parts.path) < 2:
        raise ConfigurationError(
            "an SQLite URL names a file and no host: sqlite:///relative.db (three slashes) or "
            "sqlite:////absolute/path.db (four); write # and ? in a path as %23 and %3F"
        )
    name = unquote(parts.path[1:])
    # the namespace that everybody gets leaves the file the name that it was given
    if name == ":memory:" or namespace in ("", "ahc"):
        return Path(name)
    if not re.fullmatch(r"[\w.-]+", namespace):
        raise ConfigurationError(
            f"namespace {namespace!r} becomes part of a file name: letters, digits, '.', '_' and '-' only"
        )
    path = Path(name)
    return path.with_name(f"{path.stem}-{namespace}{path.suffix}")


def _retention(url: str) -> _Retention:
    found = _Retention()
    for name, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        try:
            if name == "retention_records":
                found["retention_records"] = int(value)
            elif name == "retention_seconds":
                found["retention_seconds"] = float(value)
            else:
                (near,) = get_close_matches(name, _Retention.__annotations__, n=1, cutoff=0.0)
                raise ConfigurationError(f"no parameter {name!r} in an SQLite URL; did you mean {near!r}?")
        except ConfigurationError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{name} must be a number, not {value!r}") from error
    return found


BROKER = _SqliteBroker()
"""What the entry point names."""
