"""From URLs to buses, L2s and checkpoints: what is used, what is refused, and that no credential shows."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.errors import CacheError, ConfigurationError, LogRefused, LogUnavailable
from async_hybrid_cache.positions import Position
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache_brokers.nats import BROKER, NatsInvalidationBus, NatsLog
from async_hybrid_cache_brokers.nats.address import Address
from tests.servers.certificates import Certificates
from tests.servers.nats import NatsServer
from tests.servers.server import Server, User

REFUSED = [
    ("nats://host:70000", "port"),
    ("nats://host:0", "port"),
    ("nats://host:x", "port"),
    ("nats://user:s3/cret@host", "path"),
    ("nats://s3/cret@host", "path"),
    ("nats://:s3?cret@host", "no option"),
    ("nats://s3?cret@host", "no option"),
    ("nats://:s3#cret@host", "fragment"),
    ("nats://u:s3,cret@host", "port"),
    ("nats://u:12,cret@host", "','"),
    ("nats://:s3cret@host", "neither user nor token"),
    ("nats://u:s3cret@", "host"),
    ("nats://u:s3cret@ho st", "host"),
    ("nats://u:s3cret@host,", "host"),
    ("nats://u:s3cret@host,nats://u:s4cret@other", "different credentials"),
    ("nats://u:s3cret@host/stream", "path"),
    ("nats://u:s3cret@host?nkey=", "'nkey'"),
    ("nats://u:s3cret@host?nkey=/s", "keep one|nkeys"),
    ("nats://u:s3cret@host?max_age=3", "'max_age'"),
    ("nats://u:s3cret@host?ssl_ca_certs=/ca", "'ssl_ca_certs'"),
    ("nats://u:s3cret@host?replicas=s3cret", "'replicas'"),
    ("tls://u:s3cret@host?ssl_check_hostname=s3cret", "'ssl_check_hostname'"),
    ("tls://u:s3cret@host?ssl_keyfile=/k", "ssl_certfile"),
    ("http://u:s3cret@host", "nats://"),
]


@pytest.mark.parametrize(("url", "part"), REFUSED)
def test_a_url_that_cannot_be_used_is_refused_by_its_part(url: str, part: str) -> None:
    for make in (
        lambda: BROKER.bus(url, namespace="n", stream=None),
        lambda: BROKER.distributed_cache(url, namespace="n"),
        lambda: BROKER.checkpoints(url, namespace="n"),
    ):
        with pytest.raises(ConfigurationError, match=part) as caught:
            make()
        shown = "".join(traceback.format_exception_only(caught.value))
        assert "cret" not in shown
        assert caught.value.__cause__ is None


def test_every_part_of_a_url_is_used() -> None:
    address = Address("nats://us%40er:p%2Fw%2C@h:7,h2,[::1]:9")
    assert address.servers == ["nats://h:7", "nats://h2:4222", "nats://[::1]:9"]
    assert address.login == {"user": "us@er", "password": "p/w,"}
    assert not address.tls
    assert Address("nats://t%3Aken@h").login == {"token": "t:ken"}
    several = Address(["nats://u:p@h", "tls://u:p@i,nats://j"])
    assert several.servers == ["tls://h:4222", "tls://i:4222", "tls://j:4222"]
    assert several.login == {"user": "u", "password": "p"}
    assert Address("nats://h", token="t").login == {"token": "t"}
    assert Address("nats://h", tls_handshake_first=True).tls


@pytest.mark.parametrize(
    ("access", "part"),
    [
        ({"user": "u"}, "go together"),
        ({"user": "u", "password": "p", "token": "t"}, "exclude"),
        ({"token": ""}, "token"),
        ({"passwort": "s3cret"}, "passwort"),
        ({"ssl_check_hostname": "no"}, "ssl_check_hostname"),
        ({"ssl_ca_certs": 3}, "ssl_ca_certs"),
    ],
)
def test_keywords_are_checked_where_they_are_given(access: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        NatsInvalidationBus("nats://h", **access)
    assert "s3cret" not in str(caught.value)


def test_names_that_nats_does_not_take_are_refused() -> None:
    for namespace in ("", "a.b", "a b", "ä", "*", "x" * 200):
        with pytest.raises(ConfigurationError, match="namespace"):
            BROKER.bus("nats://h", namespace=namespace, stream=None)
    with pytest.raises(ConfigurationError, match="name"):
        NatsLog("nats://h", stream="a.b")
    with pytest.raises(ConfigurationError, match="retention_records"):
        NatsLog("nats://h", retention_records=0)
    with pytest.raises(ConfigurationError, match="URLs"):
        NatsLog([4222])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="at least one"):
        NatsLog([])


def test_no_repr_shows_a_credential() -> None:
    bus = NatsInvalidationBus("nats://user:s3cret@h")
    assert "s3cret" not in repr(bus) + repr(bus.new_log()) + repr(Address("nats://s3cret@h"))
    assert "s3cret" not in repr(NatsInvalidationBus("nats://h", token="s3cret"))


def test_a_namespace_separates_applications(nats: Server) -> None:
    async def main() -> None:
        namespace = f"test-{uuid4()}"
        stream = StreamOptions()
        broker = find_broker(nats.url)
        buses = [broker.bus(nats.url, namespace=n, stream=stream) for n in (namespace, f"{namespace}-2")]
        assert all(isinstance(bus, NatsInvalidationBus) and bus.stream_options is stream for bus in buses)
        logs = [bus.new_log() for bus in buses]
        for log in logs:
            await log.open()
        assert (await logs[0].append(b"data", "1")).offset == 1
        assert (await logs[1].bounds()).last == 0
        for log in logs:
            await log.close()

    asyncio.run(main())


# -- TLS -----------------------------------------------------------------------------------------------------


async def appended(url: str, **access: Any) -> Position:
    log = NatsLog(url, stream=f"test-{uuid4()}", **access)
    try:
        await log.open()
        return await log.append(b"data", "id")
    finally:
        await log.close()


@pytest.mark.parametrize("handshake_first", [False, True])
def test_tls_is_spoken_and_verified(tmp_path: Path, handshake_first: bool) -> None:
    certificates = Certificates(tmp_path / "certificates")
    user = User("user", "p/ss:w,rd")
    query = f"?ssl_ca_certs={certificates.authority}" + ("&tls_handshake_first=true" if handshake_first else "")
    with closing(
        NatsServer(tmp_path / "server", users=[user], tls=certificates, handshake_first=handshake_first)
    ) as server:
        server.open()

        async def main() -> None:
            log = BROKER.bus(server.url + query, namespace="n", stream=None).new_log()
            await log.open()
            assert (await log.append(b"data", "id")).offset == 1
            await log.close()
            with pytest.raises(LogUnavailable, match=r"(?i)certificate"):  # signed by nobody that the system knows
                await appended(server.url, tls_handshake_first=handshake_first)

        asyncio.run(main())


def test_tls_never_falls_back_to_plain() -> None:
    said: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.12.0","headers":true,"max_payload":1048576}\r\n')
        said.append(await reader.read(1))
        writer.write(b"-ERR 'Unknown Protocol Operation'\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for url in (f"tls://user:s3cret@127.0.0.1:{port}", f"tls://127.0.0.1:{port},nats://127.0.0.1:{port}"):
            with pytest.raises(LogUnavailable) as caught:
                await appended(url)
            assert "s3cret" not in "".join(traceback.format_exception(caught.value, chain=True, limit=0))
        server.close()
        await server.wait_closed()

    asyncio.run(main())
    assert len(said) >= 2
    assert set(said) == {b"\x16"}, "something else than a TLS handshake was sent"


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile"])
def test_tls_files_that_cannot_be_used_are_refused_by_name(nats: Server, tmp_path: Path, name: str) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for path in (bad, tmp_path / "missing.pem"):
        with pytest.raises(LogRefused, match="file"):
            asyncio.run(appended(nats.url, **{name: path}))


# -- credentials ---------------------------------------------------------------------------------------------


def test_a_credentials_file_without_credentials_is_refused(
    nats: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the optional package only has to be there; nats-py reads such a file for ever
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    creds = tmp_path / "app.creds"
    creds.write_text("-----BEGIN USER NKEY SEED-----\nSU\n------END USER NKEY SEED------\n")
    for path in (creds, tmp_path / "missing.creds"):
        with pytest.raises(LogRefused, match=path.name):
            asyncio.run(appended(nats.url, creds=path))


def test_who_is_refused_is_told_so_and_not_shown(tmp_path: Path) -> None:
    user = User("user", "right")
    with closing(NatsServer(tmp_path / "server", users=[user])) as server:
        server.open()
        assert asyncio.run(appended(server.url)).offset == 1
        for url in (server.url_of(User("user", "s3cret")), server.url.replace("user:right", "s3cret")):
            with pytest.raises(CacheError, match=r"(?i)authorization") as caught:
                asyncio.run(appended(url))
            assert isinstance(caught.value, LogRefused)
            assert "s3cret" not in "".join(traceback.format_exception(caught.value, chain=True, limit=0))
