"""The test servers keep their promises: nothing leaks; a cut, a stall and a delay are what they say."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

import psutil
import pytest

from tests.servers.ports import LOOPBACK
from tests.servers.process import ServerFailed, ServerProcess
from tests.servers.proxy import Proxy
from tests.servers.server import Server
from tests.servers.valkey import ValkeyServer


@pytest.fixture
def proxy(valkey: Server) -> Iterator[Proxy]:
    with Proxy(valkey.url) as proxy:
        yield proxy


class Client:
    """A connection and the inline commands of the Redis protocol: no client library's retries in the way."""

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def call(self, command: str) -> bytes:
        self.socket.sendall(command.encode() + b"\r\n")
        return self.socket.recv(4096)

    def broken(self) -> bool:
        try:
            return self.call("PING") == b""
        except ConnectionError:
            return True


def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    deadline = monotonic() + timeout
    while not condition():
        assert monotonic() < deadline, "not in time"
        sleep(0.005)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_data_and_port_outlive_a_kill(own_valkey: ValkeyServer) -> None:
    url, pid = own_valkey.url, own_valkey.pid
    with Client(url) as client:
        assert client.call("SET kept 1") == b"+OK\r\n"
        own_valkey.restart()
        assert client.broken()
    assert own_valkey.url == url
    assert own_valkey.pid != pid
    with Client(url) as client:
        assert client.call("GET kept") == b"$1\r\n1\r\n"


def test_a_stopped_server_keeps_connections_and_answers_later(own_valkey: ValkeyServer) -> None:
    with Client(own_valkey.url, timeout=0.2) as client:
        own_valkey.stop()
        with pytest.raises(TimeoutError):
            client.call("PING")
        own_valkey.cont()
        client.socket.settimeout(5)
        assert client.socket.recv(64) == b"+PONG\r\n"


def test_a_server_that_does_not_start_fails_with_its_own_words(tmp_path: Path) -> None:
    server = ServerProcess(["sh", "-c", "echo no such luck; exit 3"], log=tmp_path / "log", ready=lambda: False)
    with pytest.raises(ServerFailed, match="no such luck"):
        server.start()


def test_proxy_forwards_and_cuts_its_own_client_alone(valkey: Server, proxy: Proxy) -> None:
    with Client(valkey.url) as direct, Client(proxy.url) as cut:
        assert cut.call("PING") == b"+PONG\r\n"
        proxy.cut()
        assert cut.broken()
        with pytest.raises(ConnectionRefusedError):
            Client(proxy.url)
        assert direct.call("PING") == b"+PONG\r\n"
    proxy.heal()
    with Client(proxy.url) as again:
        assert again.call("PING") == b"+PONG\r\n"


def test_proxy_stalls_old_and_new_connections_and_then_delivers(proxy: Proxy) -> None:
    with Client(proxy.url, timeout=0.2) as old:
        assert old.call("PING") == b"+PONG\r\n"
        proxy.stall()
        with pytest.raises(TimeoutError):
            old.call("PING")
        with Client(proxy.url, timeout=0.2) as new:
            with pytest.raises(TimeoutError):
                new.call("PING")
            proxy.flow()
            for client in (old, new):
                client.socket.settimeout(5)
                assert client.socket.recv(64) == b"+PONG\r\n"


def test_proxy_delays_both_ways(proxy: Proxy) -> None:
    with Client(proxy.url) as client:
        client.call("PING")
        proxy.delay(0.1)
        began = monotonic()
        assert client.call("PING") == b"+PONG\r\n"
        assert 0.2 <= monotonic() - began < 2
        proxy.delay(0)
        began = monotonic()
        assert client.call("PING") == b"+PONG\r\n"
        assert monotonic() - began < 0.1


def test_proxy_turns_to_another_server(valkey: Server, own_valkey: ValkeyServer, proxy: Proxy) -> None:
    own_valkey.command("SET where elsewhere")
    with Client(proxy.url) as client:
        assert client.call("GET where") == b"$-1\r\n"
        proxy.target(own_valkey.url)
        assert client.broken()
    with Client(proxy.url) as client:
        assert client.call("GET where") == b"$9\r\nelsewhere\r\n"


def test_proxy_turns_to_another_server_while_it_is_cut_or_stalled(own_valkey: ValkeyServer, proxy: Proxy) -> None:
    own_valkey.command("SET where elsewhere")
    proxy.cut()
    proxy.target(own_valkey.url)
    with pytest.raises(ConnectionRefusedError):
        Client(proxy.url)
    proxy.heal()
    proxy.stall()
    proxy.target(own_valkey.url)
    with Client(proxy.url, timeout=0.2) as client:
        with pytest.raises(TimeoutError):
            client.call("GET where")
        proxy.flow()
        client.socket.settimeout(5)
        assert client.socket.recv(64) == b"$9\r\nelsewhere\r\n"


def test_proxy_of_a_dead_server_closes_what_it_accepts(own_valkey: ValkeyServer) -> None:
    with Proxy(own_valkey.url) as proxy:
        own_valkey.kill()
        with Client(proxy.url) as client:
            assert client.broken()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, proxy.port), 1)


def test_proxy_leaks_no_connection_that_comes_while_it_is_cut(valkey: Server) -> None:
    def call_on(port: int, done: threading.Event) -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                socket.create_connection((LOOPBACK, port), 1).close()

    done = threading.Event()
    for _ in range(20):
        with valkey.proxy() as proxy:
            caller = threading.Thread(target=call_on, args=(proxy.port, done))
            caller.start()
            proxy.cut()
            proxy.heal()
        done.set()
        caller.join()
        done.clear()
        gc.collect()  # what is unclosed is a warning then, and warnings fail
