"""What every local server has: an address, data in a folder, and a process that can be killed and comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from .ports import LOOPBACK, free_port
from .process import ServerFailed, ServerProcess
from .proxy import Proxy

__all__ = ["LocalServer", "Server", "User", "with_free_ports"]


class Server(Protocol):
    """A server, wherever it runs."""

    @property
    def url(self) -> str: ...

    def proxy(self) -> Proxy: ...


@dataclass(frozen=True)
class User:
    """Somebody a server knows. Without `creates`, one who may use what exists and create nothing."""

    name: str
    password: str
    creates: bool = True


def with_free_ports(start: Callable[[], None], assign: Callable[[], None]) -> None:
    """`start`, again after `assign` where somebody was quicker with a chosen port."""
    for _ in range(3):
        try:
            return start()
        except ServerFailed as error:
            if "already in use" not in str(error).lower():
                raise
            assign()
    raise ServerFailed("free ports were taken three times in a row before the server could have them")


class LocalServer(ABC):
    """A server process on a free port of the loopback interface, with its data in `folder`.

    The port and the data stay over `kill` and `start`. With `users`, nobody else is let in, and `url` is that of
    the first of them.
    """

    scheme: str
    path = ""
    listen = LOOPBACK
    start_seconds = 20.0

    def __init__(self, folder: Path, *, users: Sequence[User] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._users = tuple(users)
        self._process = self._new_process()
        self._assign()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url_at(self.port, None)})"

    @property
    def url(self) -> str:
        """Where clients find it, as its first user where it has users."""
        return self._url_at(self.port, self._users[0] if self._users else None)

    def url_of(self, user: User) -> str:
        """Its URL with the credentials of `user`, whom it need not know."""
        return self._url_at(self.port, user)

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started, and neither killed nor closed since."""
        return self._process.running

    def answers(self) -> bool:
        """Whether it serves clients now. Takes a second or two where it is frozen."""
        try:
            return self._probe()
        except OSError:
            return False

    def proxy(self) -> Proxy:
        """A proxy in front of this server, for one client."""
        return Proxy(self.url)

    def start(self) -> None:
        """Start on the port and the data of before; returns once clients are answered."""
        self._process.command = list(self._command())
        self._process.start()

    def open(self) -> None:
        """The first `start`: takes another port where somebody was quicker with the chosen one."""
        with_free_ports(self.start, self._assign)

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

    def _new_process(self) -> ServerProcess:
        log = self.folder / "server.log"
        return ServerProcess([], log=log, ready=self.answers, deadline_seconds=self.start_seconds)

    def _assign(self) -> None:
        self.port = free_port()

    def _url_at(self, port: int, user: User | None) -> str:
        credentials = f"{quote(user.name, safe='')}:{quote(user.password, safe='')}@" if user else ""
        return f"{self.scheme}://{credentials}{LOOPBACK}:{port}{self.path}"

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What to run, with every file it needs written."""

    @abstractmethod
    def _probe(self) -> bool:
        """`answers`, or `OSError`."""

    def _ports(self) -> list[int]:
        """Every port that a client, or `answers`, connects to."""
        return [self.port]
