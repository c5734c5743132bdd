"""From URLs to buses and L2s: what is used, what is refused, and that no credential shows."""

from __future__ import annotations

import asyncio
import traceback
import uuid

import pytest
from redis.asyncio import Redis, SSLConnection, UnixDomainSocketConnection

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.distributed import Miss
from async_hybrid_cache.errors import ConfigurationError, LogUnavailable
from async_hybrid_cache.positions import ORIGIN
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache_brokers.redis import BROKER, RedisStreamsInvalidationBus, RedisStreamsLog
from tests.servers.server import Server

REFUSED = [
    ("redis://host:70000", "port"),
    ("redis://host:x/0", "port"),
    ("redis://user:s3/cret@host/0", "port"),
    ("redis://s3/cret@host/0", "database"),
    ("redis://:s3?cret@host/0", "port"),
    ("redis://s3?cret@host/0", "no option"),
    ("redis://:s3#cret@host/0", "fragment"),
    ("redis://:s3cret@host/one", "database"),
    ("redis://:s3cret@host/0/1", "database"),
    ("redis://:s3cret@host?db=x", "'db'"),
    ("redis://:s3cret@host?db=", "'db'"),
    ("redis://:s3cret@host?socket_timeout=3", "'socket_timeout'"),
    ("redis://:s3cret@host?decode_responses=s3cret", "'decode_responses'"),
    ("redis://:s3cret@host?ssl_cert_reqs=none", "'ssl_cert_reqs'"),
    ("rediss://:s3cret@host?ssl_cert_reqs=s3cret", "'ssl_cert_reqs'"),
    ("unix://:s3cret@", "socket"),
    ("http://:s3cret@host", "redis://"),
]


@pytest.mark.parametrize(("url", "part"), REFUSED)
def test_a_url_that_cannot_be_used_is_refused_by_its_part(url: str, part: str) -> None:
    for make in (
        lambda: BROKER.bus(url, namespace="n", stream=None),
        lambda: BROKER.distributed_cache(url, namespace="n"),
    ):
        with pytest.raises(ConfigurationError, match=part) as caught:
            make()
        shown = "".join(traceback.format_exception_only(caught.value))
        assert "cret" not in shown
        assert caught.value.__cause__ is None


def options(url: str) -> tuple[type, dict[str, object]]:
    log = BROKER.bus(url, namespace="n", stream=None).new_log()
    assert isinstance(log, RedisStreamsLog)
    pool = log.redis.connection_pool
    return pool.connection_class, pool.connection_kwargs


def test_every_part_of_a_url_is_used() -> None:
    _, used = options("redis://us%40er:p%2Fw@h:7/3?client_name=me")
    expected = {"username": "us@er", "password": "p/w", "host": "h", "port": 7, "db": 3, "client_name": "me"}
    assert expected.items() <= used.items()
    made, used = options("unix://u:p@/run/r.sock?db=2")
    assert made is UnixDomainSocketConnection
    assert {"path": "/run/r.sock", "db": 2, "username": "u", "password": "p"}.items() <= used.items()


def test_tls_is_verified_unless_the_url_says_otherwise() -> None:
    made, used = options("rediss://h?ssl_ca_certs=/ca.pem")
    assert made is SSLConnection
    assert used["ssl_check_hostname"] is True
    assert used["ssl_ca_certs"] == "/ca.pem"
    _, used = options("rediss://h?ssl_check_hostname=false")
    assert used["ssl_check_hostname"] is False
    _, used = options("rediss://h?ssl_cert_reqs=none")
    assert (used["ssl_cert_reqs"], used["ssl_check_hostname"]) == ("none", False)


def test_tls_never_falls_back_to_plain() -> None:
    said: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(1))
        writer.write(b"-ERR plain\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        log = BROKER.bus(f"rediss://:s3cret@127.0.0.1:{port}", namespace="n", stream=None).new_log()
        with pytest.raises(LogUnavailable):
            await log.open()
        await log.close()
        server.close()

    asyncio.run(main())
    assert said == [b"\x16"]  # a TLS handshake


def test_a_namespace_separates_applications(valkey: Server) -> None:
    async def main() -> None:
        namespace = uuid.uuid4().hex
        broker = find_broker(valkey.url)
        stream = StreamOptions()
        bus = broker.bus(valkey.url, namespace=namespace, stream=stream)
        assert isinstance(bus, RedisStreamsInvalidationBus)
        assert bus.stream_options is stream
        l2 = broker.distributed_cache(valkey.url, namespace=namespace)
        assert l2 is not None
        log = bus.new_log()
        for _ in range(2):  # closed and opened again
            await log.open()
            await log.append(b"", "1")
            await l2.open()
            assert isinstance(await l2.get("s", "k", oldest=ORIGIN, lease_seconds=60), Miss)
            await log.close()
            await l2.close()
        async with Redis.from_url(valkey.url, decode_responses=True) as client:
            keys = [key async for key in client.scan_iter(f"{namespace}*")]
            assert set(keys) == {f"{namespace}:invalidation", f"{namespace}:clears", f"{namespace}:s:k"}

    asyncio.run(main())
