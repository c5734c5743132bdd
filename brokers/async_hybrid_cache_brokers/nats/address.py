"""Where the servers are, and what gets one in: from URLs and keywords, checked before anything starts."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from collections.abc import Sequence
from typing import Any, TypedDict
from urllib.parse import unquote

from async_hybrid_cache.errors import ConfigurationError

__all__ = ["Access", "Address"]

_SCHEMES = ("nats", "tls")
_ESCAPE = "percent-encode '/', '?', '#', '@', ':' and ',' in user name and password"
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "tls_handshake_first")
_SEED = re.compile(rb"-+BEGIN USER NKEY SEED-+\s+\S+\s+-+END")
_JWT = re.compile(rb"-+BEGIN NATS USER JWT-+\s+\S+\s+-+END")


class Access(TypedDict, total=False):
    """Keywords beside the servers: what proves who we are, and TLS. All may be left away.

    `user` and `password`, or `token`, take the place of what the URL has in front of its `@`. `creds` is the path
    of a credentials file (a JWT and its seed), `nkey` that of an nkey seed; both need the package `nkeys`. Files
    are read for each connection, so that they may be renewed. Any `ssl_` or `tls_` keyword asks for TLS, as the
    scheme `tls` does.
    """

    user: str
    password: str
    token: str
    creds: str | os.PathLike[str]
    nkey: str | os.PathLike[str]
    ssl_ca_certs: str | os.PathLike[str]
    """Certificates to trust, as PEM; the system's where it is left away."""
    ssl_certfile: str | os.PathLike[str]
    """An own certificate, as PEM, with its key where there is no `ssl_keyfile`."""
    ssl_keyfile: str | os.PathLike[str]
    ssl_check_hostname: bool
    """Whether the server's certificate must be for its host name (True)."""
    tls_handshake_first: bool
    """Whether TLS begins before the server says anything, as its setting `handshake_first` demands (False)."""


class Address:
    """The servers of one NATS system, and how they are entered.

    `servers` is one URL or several, `nats://[user:password@|token@]host[:4222][,host...]` or `tls://...`. Once TLS
    is asked for, every connection has it. Raises `ConfigurationError` for what cannot be used, without repeating
    a credential; no repr shows one either.
    """

    def __init__(self, servers: str | Sequence[str], **access: Any) -> None:
        # no value in these errors and no cause: both could hold a part of the password
        if unknown := set(access) - set(Access.__annotations__):
            raise ConfigurationError(
                f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(Access.__annotations__)}"
            )
        hosts, schemes, login = _split([servers] if isinstance(servers, str) else list(servers))
        self.tls = "tls" in schemes or any(name in access for name in _TLS)
        self.handshake_first = _flag(access, "tls_handshake_first", False)
        self.servers = [f"{'tls' if self.tls else 'nats'}://{host}" for host in hosts]
        self.creds = _path(access, "creds")
        self._check_hostname = _flag(access, "ssl_check_hostname", True)
        self._files = {name: _path(access, name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
        if self._files["ssl_keyfile"] and not self._files["ssl_certfile"]:
            raise ConfigurationError("ssl_keyfile needs ssl_certfile")
        self.login = _login(login, access)

    def __repr__(self) -> str:
        return f"Address({', '.join(self.servers)})"

    def ssl_context(self) -> ssl.SSLContext | None:
        """What TLS is spoken with, from the files as they are now; None where it was not asked for.

        Raises `OSError` (`ssl.SSLError` among them) where they cannot be used.
        """
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self._files["ssl_ca_certs"])
        context.check_hostname = self._check_hostname
        if certificate := self._files["ssl_certfile"]:
            # without a password openssl would ask on the terminal
            context.load_cert_chain(certificate, self._files["ssl_keyfile"], password="")
        return context

    def check_files(self) -> None:
        """Raise `OSError` where a credentials file cannot be used: nats-py reads for ever in one without a JWT."""
        if self.creds is not None:
            with open(self.creds, "rb") as file:
                text = file.read(1 << 20)
            if not (_JWT.search(text) and _SEED.search(text)):
                raise OSError(f"{self.creds!r} is no NATS credentials file")


def _split(urls: Sequence[str]) -> tuple[list[str], set[str], str | None]:
    """Hosts with ports, schemes, and what stands in front of the `@`, decoded no further."""
    hosts: list[str] = []
    schemes: set[str] = set()
    logins: list[str] = []
    for url in urls:
        if not isinstance(url, str):
            raise ConfigurationError(f"servers are URLs, 'nats://host:4222', not {type(url).__name__}")
        inherited = ""
        for number, part in enumerate(url.split(",")):
            scheme, separator, rest = part.strip().partition("://")
            scheme, rest = (scheme.lower(), rest) if separator else (inherited, part.strip())
            if scheme not in _SCHEMES:
                raise ConfigurationError("a NATS URL begins with nats:// or tls://")
            inherited = scheme
            authority, slash, path = rest.partition("/")
            login, at, host = authority.rpartition("@")
            if at and number and not separator:
                raise ConfigurationError(f"the {scheme}:// URL has '@' after its first ','; {_ESCAPE}")
            hosts.append(_host(scheme, f"{host}{slash}{path}"))
            schemes.add(scheme)
            if at:
                logins.append(login)
    if not hosts:
        raise ConfigurationError("servers must name at least one, e.g. 'nats://localhost:4222'")
    if len(set(logins)) > 1:
        raise ConfigurationError("the servers have different credentials; all of them must be one NATS system's")
    return hosts, schemes, logins[0] if logins else None


def _host(scheme: str, text: str) -> str:
    if "#" in text:
        raise ConfigurationError(f"the {scheme}:// URL has a fragment ('#...'); {_ESCAPE}")
    text, query, _ = text.partition("?")
    if query:
        raise ConfigurationError(f"options after '?' belong into keywords, or into a broker's URL; {_ESCAPE}")
    text, _, path = text.partition("/")
    if path:
        raise ConfigurationError(f"the {scheme}:// URL has a path, and NATS knows none; {_ESCAPE}")
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]*)(?::(.*))?", text, re.DOTALL)
    host, port = found.groups() if found else ("", "")
    port = port or "4222"
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ConfigurationError(f"the port of the {scheme}:// URL is not one of 1 to 65535; {_ESCAPE}")
    if not re.fullmatch(r"\[.*\]|[A-Za-z0-9._-]+", host):
        raise ConfigurationError(f"the {scheme}:// URL has no usable host; {_ESCAPE}")
    return f"{host}:{port}"


def _login(text: str | None, access: Any) -> dict[str, Any]:
    """The arguments for nats-py."""
    ways = [way for way in ("token", "creds", "nkey") if way in access]
    if "user" in access or "password" in access:
        ways.append("user and password")
    if len(ways) > 1:
        raise ConfigurationError(f"{' and '.join(ways)} exclude each other")
    for name in ("user", "password", "token"):
        if name in access and (not isinstance(access[name], str) or not access[name]):
            raise ConfigurationError(f"{name} must be a text")
    if ways and text is not None:
        raise ConfigurationError(f"both the URL and {ways[0]} say who connects; keep one")
    if "token" in access:
        return {"token": access["token"]}
    if "creds" in access or "nkey" in access:
        if importlib.util.find_spec("nkeys") is None:
            raise ConfigurationError(f"{ways[0]} needs the package nkeys; run: pip install 'nats-py[nkeys]'")
        name = "user_credentials" if "creds" in access else "nkeys_seed"
        return {name: _path(access, ways[0])}
    if ways:
        if "user" not in access or "password" not in access:
            raise ConfigurationError("user and password go together")
        return {"user": access["user"], "password": access["password"]}
    if text is None:
        return {}
    user, colon, password = text.partition(":")
    if not user:
        raise ConfigurationError(f"the URL has neither user nor token in front of its '@'; {_ESCAPE}")
    if not colon:
        return {"token": unquote(user)}
    return {"user": unquote(user), "password": unquote(password)}


def _path(access: Any, name: str) -> str | None:
    if name not in access:
        return None
    if not isinstance(access[name], str | os.PathLike) or not os.fspath(access[name]):
        raise ConfigurationError(f"{name} must be the path of a file")
    return str(os.fspath(access[name]))


def _flag(access: Any, name: str, default: bool) -> bool:
    value = access.get(name, default)
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be true or false")
    return value
