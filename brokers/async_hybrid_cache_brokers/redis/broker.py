"""From a `redis://`, `rediss://` or `unix://` URL to a bus and an L2."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.errors import ConfigurationError
from async_hybrid_cache.urls import url_options

from .bus import RedisStreamsInvalidationBus
from .checkpoints import RedisCheckpointStore
from .distributed import RedisDistributedCache

__all__ = ["BROKER"]

_COMMON = frozenset({"db", "client_name"})
_TLS = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"})
_OPTIONS = {"redis": _COMMON, "rediss": _COMMON | _TLS, "unix": _COMMON}
_ESCAPE = "percent-encode '/', '?', '#', '@' and ':' in user name and password"


class RedisBroker:
    """The broker of the schemes `redis`, `rediss` (TLS) and `unix`."""

    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> RedisStreamsInvalidationBus:
        """The bus on the stream `<namespace>:invalidation`."""
        return RedisStreamsInvalidationBus(_client(url), stream_key=f"{namespace}:invalidation", stream=stream)

    def distributed_cache(self, url: str, *, namespace: str) -> RedisDistributedCache:
        """The L2 under the prefix `namespace`."""
        return RedisDistributedCache(_client(url), prefix=namespace)

    def checkpoints(self, url: str, *, namespace: str) -> RedisCheckpointStore:
        """The checkpoints, under a prefix that no key of an entry begins with: in a scope, % is escaped."""
        return RedisCheckpointStore(_client(url), prefix=f"{namespace}:%checkpoint")


BROKER = RedisBroker()


def _client(url: str) -> Redis:
    # it only says how to connect and never does, so there is nothing of it to close
    return Redis.from_url(url, **_checked(url))


def _checked(url: str) -> dict[str, Any]:
    # no cause and no value in these errors: both could hold a part of the password
    parts = urlsplit(url)
    scheme = parts.scheme
    if scheme not in _OPTIONS:
        raise ConfigurationError("a Redis URL begins with redis://, rediss:// or unix://")
    if parts.fragment:
        raise ConfigurationError(f"the {scheme}:// URL has a fragment ('#...'); {_ESCAPE}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigurationError(f"the port of the {scheme}:// URL is not one of 1 to 65535; {_ESCAPE}")
    if scheme == "unix":
        if parts.path in ("", "/"):
            raise ConfigurationError("the unix:// URL names no socket; write e.g. 'unix:///run/redis.sock'")
    elif not re.fullmatch(r"/?|/[0-9]+/?", parts.path, re.ASCII):
        raise ConfigurationError(f"the database of the {scheme}:// URL is not a number; {_ESCAPE}")
    return _query(scheme, parts.query)


def _query(scheme: str, query: str) -> dict[str, Any]:
    options = url_options(scheme, query, _OPTIONS[scheme], escape=_ESCAPE)
    if not re.fullmatch(r"[0-9]+", options.get("db", "0"), re.ASCII):
        raise ConfigurationError(f"the option 'db' of the {scheme}:// URL is not a number")
    if scheme != "rediss":
        return {}
    verify = options.get("ssl_cert_reqs", "required")
    if verify not in ("none", "optional", "required"):
        raise ConfigurationError("the option 'ssl_cert_reqs' must be none, optional or required")
    # redis-py before 6 did not check the host name by default
    return {"ssl_check_hostname": verify != "none"}
