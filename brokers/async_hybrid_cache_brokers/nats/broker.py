"""From a `nats://` or `tls://` URL to a bus, an L2 and checkpoints."""

from __future__ import annotations

import re
from typing import Any

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.errors import ConfigurationError
from async_hybrid_cache.urls import url_options

from .address import Access
from .bus import NatsInvalidationBus
from .checkpoints import NatsKVCheckpointStore
from .distributed import NatsKVDistributedCache

__all__ = ["BROKER"]

_FLAGS = ("ssl_check_hostname", "tls_handshake_first")
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", *_FLAGS)
_OPTIONS = {"nats": ("creds", "nkey", "replicas"), "tls": ("creds", "nkey", "replicas", *_TLS)}
_ESCAPE = "percent-encode '/', '?', '#', '@', ':' and ',' in user name and password"


class NatsBroker:
    """The broker of the schemes `nats` and `tls`."""

    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> NatsInvalidationBus:
        """The bus on the stream `<namespace>-invalidation`."""
        servers, replicas, access = _parts(url)
        return NatsInvalidationBus(
            servers, stream_name=f"{_name(namespace)}-invalidation", replicas=replicas, stream=stream, **access
        )

    def distributed_cache(self, url: str, *, namespace: str) -> NatsKVDistributedCache:
        """The L2 in the bucket `namespace`."""
        servers, replicas, access = _parts(url)
        return NatsKVDistributedCache(servers, bucket=_name(namespace), replicas=replicas, **access)

    def checkpoints(self, url: str, *, namespace: str) -> NatsKVCheckpointStore:
        """The checkpoints in the bucket `<namespace>-checkpoints`."""
        servers, replicas, access = _parts(url)
        return NatsKVCheckpointStore(servers, bucket=f"{_name(namespace)}-checkpoints", replicas=replicas, **access)


BROKER = NatsBroker()


def _name(namespace: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", namespace):
        raise ConfigurationError(
            f"namespace {namespace!r} becomes a name in NATS: letters, digits, '_' and '-' only, at most 100"
        )
    return namespace


def _parts(url: str) -> tuple[str, int, Access]:
    """Servers, replicas, and the other options after '?' as keywords."""
    servers, _, query = url.partition("?")
    scheme = servers.partition("://")[0].lower()
    if scheme not in _OPTIONS:
        raise ConfigurationError("a NATS URL begins with nats:// or tls://")
    if "#" in url:
        raise ConfigurationError(f"the {scheme}:// URL has a fragment ('#...'); {_ESCAPE}")
    options = url_options(scheme, query, _OPTIONS[scheme], escape=_ESCAPE)
    access: dict[str, Any] = {name: _flag(name, value) if name in _FLAGS else value for name, value in options.items()}
    replicas = access.pop("replicas", "1")
    if not re.fullmatch("[1-5]", replicas):
        raise ConfigurationError("the option 'replicas' must be one of 1 to 5")
    return servers, int(replicas), Access(**access)  # type: ignore[typeddict-item]


def _flag(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise ConfigurationError(f"the option {name!r} must be true or false")
    return value == "true"
