"""From a `kafka://` or `kafkas://` URL to a bus."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.errors import ConfigurationError
from async_hybrid_cache.urls import url_options

from .bus import KafkaInvalidationBus

__all__ = ["BROKER"]

_COMMON = frozenset({"replication_factor", "retention_seconds", "sasl_mechanism"})
_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"})
_OPTIONS = {"kafka": _COMMON, "kafkas": _COMMON | _TLS}
_ESCAPE = "percent-encode '/', '?', '#', '@' and ':' in user name and password"


class KafkaBroker:
    """The broker of the schemes `kafka` and `kafkas` (TLS)."""

    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> KafkaInvalidationBus:
        """The bus on the topic `<namespace>.invalidation`."""
        return KafkaInvalidationBus(**_parsed(url), topic=f"{namespace}.invalidation", stream=stream)

    def distributed_cache(self, url: str, *, namespace: str) -> None:
        """None: Kafka keeps no values by key."""

    def checkpoints(self, url: str, *, namespace: str) -> None:
        """None: Kafka keeps no values by key."""


BROKER = KafkaBroker()


def _parsed(url: str) -> dict[str, Any]:
    # no cause and no value in these errors: both could hold a part of the password
    parts = urlsplit(url)
    scheme = parts.scheme
    if scheme not in _OPTIONS:
        raise ConfigurationError("a Kafka URL begins with kafka:// or kafkas://")
    if parts.fragment:
        raise ConfigurationError(f"the {scheme}:// URL has a fragment ('#...'); {_ESCAPE}")
    if parts.path not in ("", "/"):
        raise ConfigurationError(f"the {scheme}:// URL has a path; the namespace names the topic. Else {_ESCAPE}")
    credentials, at, servers = parts.netloc.rpartition("@")
    if not servers:
        raise ConfigurationError(f"the {scheme}:// URL names no server; write e.g. '{scheme}://localhost:9092'")
    arguments = _query(scheme, parts.query) | {"bootstrap_servers": servers}
    if at:
        username, colon, password = credentials.partition(":")
        if not (username and colon) or ":" in password or "@" in credentials:
            raise ConfigurationError(f"the login in the {scheme}:// URL is not 'user:password'; {_ESCAPE}")
        arguments.update(username=unquote(username), password=unquote(password))
    return arguments


def _query(scheme: str, query: str) -> dict[str, Any]:
    options = url_options(scheme, query, _OPTIONS[scheme], escape=_ESCAPE)
    arguments: dict[str, Any] = {}
    for name, number in (("replication_factor", int), ("retention_seconds", float)):
        if name in options:
            try:
                arguments[name] = number(options[name])
            except ValueError:
                raise ConfigurationError(f"the option {name!r} of the {scheme}:// URL is not a number") from None
    if "sasl_mechanism" in options:
        arguments["sasl_mechanism"] = options["sasl_mechanism"]
    if scheme == "kafkas":
        arguments["ssl_context"] = _ssl_context(options)
    return arguments


def _ssl_context(options: dict[str, str]) -> ssl.SSLContext:
    check_hostname = options.get("ssl_check_hostname", "true")
    if check_hostname not in ("true", "false"):
        raise ConfigurationError("the option 'ssl_check_hostname' must be true or false")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise ConfigurationError("the option 'ssl_keyfile' needs 'ssl_certfile' beside it")
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if "ssl_certfile" in options:
            # without a password it would be asked for at the terminal
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), password="")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the files of ssl_ca_certs, ssl_certfile or ssl_keyfile cannot be used ({type(error).__name__})"
        ) from error
    context.check_hostname = check_hostname == "true"
    return context
