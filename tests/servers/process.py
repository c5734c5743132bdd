"""A server process that can be killed, frozen and brought back, and that never outlives pytest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep

__all__ = ["ServerFailed", "ServerProcess", "run_once"]


class ServerFailed(AssertionError):
    """A server that does not start fails its test: servers are never skipped."""


def run_once(command: Sequence[str]) -> None:
    """Run a command that prepares a server; `ServerFailed` with its output where it fails."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    if done.returncode:
        raise ServerFailed(f"{command[0]} failed:\n{done.stdout[-2000:]}")


class ServerProcess:
    """One command run as a server.

    `command` may be changed while it does not run. `ready` is asked until it returns true, for at most
    `deadline_seconds`; the output goes to `log`. A small watchdog process kills the server when this process goes
    away, however it dies. (Not PR_SET_PDEATHSIG: that follows the thread which started the server, and tests
    restart servers from worker threads.)
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, ready: Callable[[], bool], deadline_seconds: float = 20.0
    ) -> None:
        self.command = list(command)
        self._log = log
        self._ready = ready
        self._deadline_seconds = deadline_seconds
        self._server: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether it was started, and neither killed nor terminated since."""
        return self._server is not None

    def start(self) -> None:
        """Start, and return once the server answers; otherwise `ServerFailed` with the end of its log."""
        if self.running:
            raise RuntimeError("the server runs already")
        self._launch()
        deadline = monotonic() + self._deadline_seconds
        while not self._ready():
            if not self._alive() or monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.command[0]} did not start:\n{self._output()[-2000:]}")
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
        server = self._running()
        server.send_signal(signal.SIGSTOP)
        # returns when the last of its threads has stopped; WNOWAIT leaves the news to whoever else waits for it
        os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def cont(self) -> None:
        """SIGCONT: go on after `stop`."""
        self._running().send_signal(signal.SIGCONT)

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            # sessions of their own: Ctrl-C is for pytest, which then closes its servers in order
            self._server = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", 'read _; kill -9 "$1"', "watchdog", str(self._server.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _alive(self) -> bool:
        return self._running().poll() is None

    def _output(self) -> str:
        return self._log.read_text()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._server is None:
            raise RuntimeError("the server does not run")
        return self._server
