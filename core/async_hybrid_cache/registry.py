"""From a URL to a broker, by the entry-point group that third parties use too."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Protocol
from urllib.parse import unquote, urlsplit

from .bus import InvalidationBus, StreamOptions
from .checkpoint import CheckpointStore
from .distributed import DistributedCache
from .errors import ConfigurationError
from .filecheckpoint import FileCheckpointStore

__all__ = ["GROUP", "Broker", "find_broker", "find_checkpoints"]

GROUP = "async_hybrid_cache.brokers"
_OURS = "async_hybrid_cache_brokers"


class Broker(Protocol):
    """What an entry point of the group names: it turns one of its URLs into a bus, an L2 and a checkpoint store.

    All methods raise `ConfigurationError` for a URL that they cannot use, naming the part at fault and never
    repeating a credential.
    """

    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> InvalidationBus:
        """The invalidation bus behind `url`."""
        ...

    def distributed_cache(self, url: str, *, namespace: str) -> DistributedCache | None:
        """The L2 behind `url`; `None` where this kind of server has none."""
        ...

    def checkpoints(self, url: str, *, namespace: str) -> CheckpointStore | None:
        """The checkpoint store behind `url`; `None` where this kind of server keeps none."""
        ...


def find_checkpoints(url: str, *, namespace: str = "ahc") -> CheckpointStore:
    """The checkpoint store behind `url`: a broker's, or `file:///folder` (`file:relative/folder` for a relative one).

    `namespace` separates applications: in a folder, each but the default one has a folder of its own. Raises
    `ConfigurationError` with the fix where that kind of URL keeps no checkpoints.
    """
    if isinstance(url, str) and url.lower().startswith("file:"):
        return FileCheckpointStore(_folder(url, namespace))
    store = find_broker(url).checkpoints(url, namespace=namespace)
    if store is None:
        scheme = url.partition("://")[0].lower()
        raise ConfigurationError(
            f"{scheme}:// keeps no checkpoints; give another place for them, e.g. 'file:///var/lib/app', "
            "a sqlite:// or a redis:// URL"
        )
    return store


def _folder(url: str, namespace: str) -> str:
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment or not parts.path:
        raise ConfigurationError("a file URL names a folder and no host: file:///absolute/folder or file:relative")
    folder = unquote(parts.path)
    if namespace in ("", "ahc"):
        return folder
    if not re.fullmatch(r"[\w-][\w.-]*", namespace):
        raise ConfigurationError(
            f"namespace {namespace!r} becomes the name of a folder: letters, digits, '.', '_' and '-' only"
        )
    return f"{folder}/{namespace}"


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
    except ValueError:
        # its text repeats what stands before the host, a password too
        raise ConfigurationError(f"the {scheme}:// URL cannot be parsed; check host, port and brackets") from None
    found = entry_points(group=GROUP, name=scheme)
    if not found:
        known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)}))
        raise ConfigurationError(f"no broker for the scheme {scheme!r}; installed: {known}")
    point = next(iter(found))
    try:
        broker: Broker = point.load()
    except ImportError as error:
        package, _, extra = point.module.rpartition(".")
        if package != _OURS:
            owner = point.dist.name if point.dist else point.module
            raise ConfigurationError(f"{scheme}:// comes from {owner}, which cannot be imported: {error}") from error
        # a folder of ours is named as its extra
        raise ConfigurationError(
            f"{scheme}:// needs a client library that is not installed; run: pip install 'async-hybrid-cache[{extra}]'"
        ) from error
    return broker
