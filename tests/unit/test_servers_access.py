"""Users, certificates and proxies of the test servers let in whom they should, and nobody else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import nats.errors
import pytest
from aiokafka.errors import KafkaError
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, RedisError

from tests.servers.certificates import Certificates
from tests.servers.kafka import KafkaServer
from tests.servers.kinds import server_kind
from tests.servers.nats import NatsServer
from tests.servers.ports import LOOPBACK
from tests.servers.proxy import Proxy
from tests.servers.server import LocalServer, Server, User
from tests.unit.server_clients import KEEP, KEPT, VALUE, keep_kafka, keep_nats, keep_valkey

OWNER = User("owner", "a/pass:word@of%its own")
GUEST = User("guest", "guest", creates=False)
REFUSED = {
    "valkey": ((AuthenticationError, "WRONGPASS|invalid username"), (NoPermissionError, "no permissions")),
    "nats": ((nats.errors.Error, "Authorization Violation"), (nats.errors.Error, "permissions violation")),
    "kafka": ((KafkaError, "bootstrap"), (PermissionError, "Authorization failed")),
}
UNREACHABLE = (OSError, TimeoutError, RedisError, nats.errors.Error, KafkaError, asyncpg.PostgresError)


@pytest.fixture(scope="module", params=["valkey", "nats", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def guarded(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with closing(server_kind(kind)(tmp_path_factory.mktemp(kind), users=[OWNER, GUEST])) as server:
        server.open()
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def in_time(work: Any) -> Any:
    async with asyncio.timeout(30):
        return await work


def distrust(server: LocalServer, *, greeting: bool = False) -> None:
    """A handshake by somebody who does not know the authority."""
    with socket.create_connection((LOOPBACK, server.port), timeout=5) as connection:
        if greeting:
            connection.recv(4096)
        ssl.create_default_context().wrap_socket(connection, server_hostname=LOOPBACK)


def test_a_guest_and_a_wrong_password_create_nothing(kind: str, guarded: LocalServer) -> None:
    (wrong, why), (forbidden, why_not) = REFUSED[kind]
    with pytest.raises(wrong, match=why):
        asyncio.run(in_time(KEEP[kind](guarded.url_of(replace(OWNER, password="wrong")))))
    with pytest.raises(forbidden, match=why_not):
        asyncio.run(in_time(KEEP[kind](guarded.url_of(GUEST))))


def test_a_guest_uses_what_the_owner_made(kind: str, guarded: LocalServer) -> None:
    asyncio.run(in_time(KEEP[kind](guarded.url)))
    guarded.restart()
    assert asyncio.run(in_time(KEPT[kind](guarded.url_of(GUEST)))) == VALUE


def test_no_credential_shows_in_a_repr(guarded: LocalServer) -> None:
    assert OWNER.password not in guarded.url  # quoted there
    for secret in (OWNER.name, OWNER.password, guarded.url.partition("//")[2].partition("@")[0]):
        assert secret not in repr(guarded)


def test_a_proxied_client_goes_through_its_proxy_alone(kind: str, guarded: LocalServer) -> None:
    with guarded.proxy() as proxy, guarded.proxy() as other:
        assert asyncio.run(in_time(KEPT[kind](proxy.url))) == VALUE
        proxy.cut()
        with pytest.raises(UNREACHABLE):
            asyncio.run(asyncio.wait_for(KEPT[kind](proxy.url), 2))
        assert asyncio.run(in_time(KEPT[kind](other.url))) == VALUE
        assert asyncio.run(in_time(KEPT[kind](guarded.url))) == VALUE


def test_a_kafka_server_has_listeners_for_so_many_proxies(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path, proxies=1)
    with server.proxy(), pytest.raises(RuntimeError, match="proxies"):
        server.proxy()
    with server.proxy() as again:
        assert again.port != server.port


def test_valkey_speaks_tls_through_a_proxy(valkey: Server, certificates: Certificates) -> None:
    with Proxy(valkey.url, tls=certificates) as proxy:
        assert proxy.url.startswith("rediss://")
        asyncio.run(keep_valkey(proxy.url, ssl_ca_certs=str(certificates.authority)))
        with pytest.raises(ConnectionError, match="certificate verify failed"):
            asyncio.run(keep_valkey(proxy.url))
        with pytest.raises(ConnectionError):
            asyncio.run(keep_valkey(proxy.url.replace("rediss", "redis")))


@pytest.mark.parametrize("handshake_first", [False, True])
def test_nats_speaks_tls(handshake_first: bool, tmp_path: Path, certificates: Certificates) -> None:
    with closing(NatsServer(tmp_path, tls=certificates, handshake_first=handshake_first)) as server:
        server.open()
        trusting = {"tls": certificates.client_context(), "tls_handshake_first": handshake_first}
        asyncio.run(in_time(keep_nats(server.url, **trusting)))
        with pytest.raises(ssl.SSLCertVerificationError):
            distrust(server, greeting=not handshake_first)


def test_kafka_speaks_tls(tmp_path: Path, certificates: Certificates) -> None:
    with closing(KafkaServer(tmp_path, tls=certificates, proxies=1)) as server:
        server.open()
        assert server.url.startswith("kafkas://")
        with server.proxy() as proxy:
            asyncio.run(
                in_time(keep_kafka(proxy.url, security_protocol="SSL", ssl_context=certificates.client_context()))
            )
        with pytest.raises(ssl.SSLCertVerificationError):
            distrust(server)
