"""The same servers in containers, for `SERVERS=docker`. Needs a Docker engine on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from docker.errors import APIError, DockerException
from docker.models.containers import Container
from testcontainers.core.container import DockerContainer

from .kafka import CLUSTER_ID, KafkaServer
from .kafka_jars import KAFKA_VERSION
from .nats import NatsServer
from .ports import LOOPBACK
from .postgres import PostgresServer
from .process import ServerFailed, ServerProcess
from .server import LocalServer
from .valkey import ValkeyServer

__all__ = ["KafkaContainer", "NatsContainer", "PostgresContainer", "ValkeyContainer"]


class _ContainerProcess(ServerProcess):
    """A container in the place of a process: the same one over `kill` and `start`, until it is terminated."""

    def __init__(
        self,
        make: Callable[[Sequence[str]], DockerContainer],
        *,
        log: Path,
        ready: Callable[[], bool],
        deadline_seconds: float,
    ) -> None:
        super().__init__([], log=log, ready=ready, deadline_seconds=deadline_seconds)
        self._make = make
        self._made: DockerContainer | None = None
        self._runs = False

    @property
    def pid(self) -> int:
        return int(self._state()["Pid"])

    @property
    def running(self) -> bool:
        return self._runs

    def kill(self) -> None:
        if self._runs:
            self._runs = False
            if self._state()["Paused"]:
                self._container.unpause()
            if self._state()["Running"]:
                self._container.kill()
                self._container.wait()

    def terminate(self) -> None:
        made, self._made, self._runs = self._made, None, False
        if made is not None:
            made.stop()

    def stop(self) -> None:
        self._container.pause()

    def cont(self) -> None:
        self._container.unpause()

    @property
    def _container(self) -> Container:
        if self._made is None:
            raise RuntimeError("the server does not run")
        return self._made.get_wrapped_container()

    def _launch(self) -> None:
        try:
            if self._made is None:
                self._made = made = self._make(self.command)
                made.start()
            else:
                self._container.start()
        except APIError as error:
            self.terminate()
            raise ServerFailed(f"{self.command[0]} did not start: {error}") from error
        except DockerException as error:
            raise ServerFailed(
                "SERVERS=docker needs a running Docker engine on this machine: start one, or leave SERVERS out to "
                f"have the servers as local processes, which need none ({error})"
            ) from error
        self._runs = True

    def _alive(self) -> bool:
        return bool(self._state()["Running"])

    def _output(self) -> str:
        return str(self._container.logs(tail=50), errors="replace")

    def _state(self) -> dict[str, Any]:
        self._container.reload()
        state: dict[str, Any] = self._container.attrs["State"]
        return state


class _Contained(LocalServer):
    """Mounts the server's folder and publishes its ports as they are, so that its settings are those of a local one."""

    image: str
    listen = "0.0.0.0"  # in the container; published on the loopback interface alone
    start_seconds = 120.0

    def _new_process(self) -> ServerProcess:
        log = self.folder / "server.log"
        return _ContainerProcess(self._container, log=log, ready=self.answers, deadline_seconds=self.start_seconds)

    def _container(self, command: Sequence[str]) -> DockerContainer:
        folder = str(self.folder)
        container = DockerContainer(
            self.image,
            env=self._environment(),
            volumes=[(folder, folder, "rw")],
            entrypoint=[command[0]],
            user=self._user(),
        )
        container.with_command(list(command[1:]))
        ports: dict[str, Any] = {f"{port}/tcp": (LOOPBACK, port) for port in self._ports()}
        container.ports = ports  # with_bind_ports knows no address, and would publish to the network
        return container

    def _environment(self) -> dict[str, str]:
        return {}

    def _user(self) -> str:
        return f"{os.getuid()}:{os.getgid()}"


class ValkeyContainer(_Contained, ValkeyServer):
    image = "valkey/valkey:8.1.3"

    def _program(self) -> str:
        return "valkey-server"


class NatsContainer(_Contained, NatsServer):
    image = "nats:2.15.1-alpine"

    def _program(self) -> str:
        return "nats-server"


class KafkaContainer(_Contained, KafkaServer):
    image = f"apache/kafka:{KAFKA_VERSION}"

    def _environment(self) -> dict[str, str]:
        return {"LOG_DIR": str(self.folder), "KAFKA_HEAP_OPTS": "-Xms256m -Xmx256m"}

    def _command(self) -> Sequence[str]:
        file, scripts = self._write_settings(), "/opt/kafka/bin"
        prepare = f"{scripts}/kafka-storage.sh format --ignore-formatted -t {CLUSTER_ID} -c {file}"
        return ["sh", "-c", f"{prepare} && exec {scripts}/kafka-server-start.sh {file}"]


class PostgresContainer(_Contained, PostgresServer):
    image = "postgres:18.4-alpine"

    def close(self) -> None:
        self._process.terminate()

    def _environment(self) -> dict[str, str]:
        return {"POSTGRES_HOST_AUTH_METHOD": "trust", "PGDATA": str(self.folder / "data")}

    def _backends(self) -> list[psutil.Process]:
        return []  # the engine takes them along

    def _command(self) -> Sequence[str]:
        return ["docker-entrypoint.sh", "postgres", *self._options()]

    def _user(self) -> str:
        return "" if os.getuid() == 0 else super()._user()  # its own, since it refuses to run as root
