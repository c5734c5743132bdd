"""Where the cluster is, and how to be let in."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from async_hybrid_cache.errors import ConfigurationError

__all__ = ["Access", "Address"]

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class Address(NamedTuple):
    """One broker of the cluster."""

    host: str
    port: int


@dataclass(frozen=True)
class Access:
    """The servers to ask first, and the credentials for all of them, which no repr shows."""

    servers: tuple[Address, ...]
    sasl_mechanism: str | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        bootstrap_servers: str | Sequence[str],
        *,
        sasl_mechanism: str | None = None,
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Access:
        """Checked; raises `ConfigurationError` that names the part at fault and repeats no credential."""
        if not isinstance(bootstrap_servers, Sequence):
            raise ConfigurationError(
                f"bootstrap_servers must be names of servers, not {type(bootstrap_servers).__name__}"
            )
        names = bootstrap_servers.split(",") if isinstance(bootstrap_servers, str) else list(bootstrap_servers)
        servers = tuple(_address(name.strip() if isinstance(name, str) else "") for name in names)
        if not servers:
            raise ConfigurationError("bootstrap_servers names no server; write e.g. 'localhost:9092'")
        if (username is None) != (password is None):
            raise ConfigurationError("username and password go together: one of them is missing")
        if username is None:
            if sasl_mechanism is not None:
                raise ConfigurationError(f"sasl_mechanism {sasl_mechanism!r} needs a username and a password")
        else:
            sasl_mechanism = "PLAIN" if sasl_mechanism is None else sasl_mechanism
            if sasl_mechanism not in _MECHANISMS:
                raise ConfigurationError(f"sasl_mechanism must be one of {', '.join(_MECHANISMS)}")
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise ConfigurationError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        return cls(servers, sasl_mechanism, username, password, ssl_context)

    @property
    def options(self) -> dict[str, Any]:
        """What aiokafka wants to be told about security."""
        protocol = ("SASL_" if self.sasl_mechanism else "") + ("SSL" if self.ssl_context else "PLAINTEXT")
        return {
            "security_protocol": protocol,
            "ssl_context": self.ssl_context,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }


def _address(name: str) -> Address:
    # the name itself is not repeated: somebody may have written credentials into it
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::([0-9]{1,5}))?", name, re.ASCII)
    if found is None:
        raise ConfigurationError("a Kafka server is written as 'host' or 'host:port', several with commas between them")
    port = int(found[3] or 9092)
    if not 1 <= port <= 65535:
        raise ConfigurationError("the port of a Kafka server is not one of 1 to 65535")
    return Address(found[1] or found[2], port)
