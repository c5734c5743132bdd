"""A server process that can be killed, frozen and brought back, and that never outlives pytest."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep

__all__ = ["ServerFailed", "ServerProcess"]


class ServerFailed(AssertionError):
    """A server that does not start fails its test: servers are never skipped."""


class ServerProcess:
    """One command run as a server.

    `ready` is asked until it returns true, for at most `deadline_seconds`; the output goes to `log`. A small
    watchdog process kills the server when this process goes away, however it dies. (Not PR_SET_PDEATHSIG:
    that follows the thread which started the server, and tests restart servers from worker threads.)
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, ready: Callable[[], bool], deadline_seconds: float = 20.0
    ) -> None:
        self._command = list(command)
        self._log = log
        self._ready = ready
        self._deadline_seconds = deadline_seconds
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def start(self) -> None:
        """Start, and return once the server answers; otherwise `ServerFailed` with the end of its log."""
        if self._server is not None:
            raise RuntimeError("the server runs already")
        with self._log.open("ab") as log:
            # sessions of their own: Ctrl-C is for pytest, which then closes its servers in order
            self._server = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", 'read _; kill -9 "$1"', "watchdog", str(self._server.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = monotonic() + self._deadline_seconds
        while not self._ready():
            if self._server.poll() is not None or monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self._command[0]} did not start:\n{self._log.read_text()[-2000:]}")
            sleep(0.005)

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone. Does nothing where none runs."""
        server, watchdog = self._server, self._watchdog
        self._server = self._watchdog = None
        if server is not None:
            server.kill()
        if watchdog is not None:
            # before the server is reaped, as long as its process id cannot belong to anybody else
            watchdog.kill()
            watchdog.wait()
            if watchdog.stdin is not None:
                watchdog.stdin.close()
        if server is not None:
            server.wait()

    def terminate(self) -> None:
        """SIGTERM, and SIGKILL where that does not end it within 5 s. Does nothing where none runs."""
        if self._server is not None:
            self._server.terminate()
            self._server.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(timeout=5)
        self.kill()

    def stop(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT: go on after `stop`."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._server is None:
            raise RuntimeError("the server does not run")
        return self._server
