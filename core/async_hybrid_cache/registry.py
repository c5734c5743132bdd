"""From a URL to a broker, by the entry-point group that third parties use too."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Protocol
from urllib.parse import urlsplit

from .bus import InvalidationBus, StreamOptions
from .distributed import DistributedCache
from .errors import ConfigurationError

__all__ = ["GROUP", "Broker", "find_broker"]

GROUP = "async_hybrid_cache.brokers"


class Broker(Protocol):
    """What an entry point of the group names: an object that turns one of its URLs into a bus and an L2.

    Both methods raise `ConfigurationError` for a URL that they cannot use, naming the part at fault and never
    repeating a credential.
    """

    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> InvalidationBus:
        """The invalidation bus behind `url`."""
        ...

    def distributed_cache(self, url: str, *, namespace: str) -> DistributedCache | None:
        """The L2 behind `url`; `None` where this kind of server has none."""
        ...


def find_broker(url: str) -> Broker:
    """The broker for the scheme of `url`; raises `ConfigurationError` with the fix where there is none."""
    if not isinstance(url, str):
        raise ConfigurationError(f"a broker URL is a string, not {type(url).__name__}; is a setting missing?")
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if not separator or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ConfigurationError("a broker URL has the form 'scheme://...', e.g. 'redis://localhost:6379/0'")
    try:
        urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"the {scheme}:// URL cannot be parsed; check host, port and brackets") from error
    found = entry_points(group=GROUP, name=scheme)
    if not found:
        known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)}))
        raise ConfigurationError(f"no broker for the scheme {scheme!r}; installed: {known}")
    point = next(iter(found))
    try:
        broker: Broker = point.load()
    except ImportError as error:
        extra = point.module.rpartition(".")[2]  # a folder of ours is named as its extra
        raise ConfigurationError(
            f"{scheme}:// needs a client library that is not installed; run: pip install 'async-hybrid-cache[{extra}]'"
        ) from error
    return broker
