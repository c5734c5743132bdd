"""A worker process as its parent sees it: started, told what to do, killed, frozen and thawed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from tests.freezing import freeze

__all__ = ["Child"]

T = TypeVar("T")
C = TypeVar("C", bound="Child")
_ROOT = Path(__file__).parents[2]
_ANSWER_SECONDS = 60.0
_LINE_BYTES = 16 * 1024 * 1024


class Child:
    """`python -m module *arguments`, which answers lines as `tests.faults.worker` does.

    An async context manager: started and ready when it is entered, gone when it is left. What it logs goes to
    `log`, or where this process's own goes.
    """

    def __init__(self, module: str, *arguments: str, log: Path | None = None) -> None:
        self._log = log
        self._module = module
        self._arguments = arguments
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self: C) -> C:
        with contextlib.ExitStack() as files:
            stderr = None if self._log is None else files.enter_context(self._log.open("ab"))
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-W", "error", "-m", self._module, *self._arguments, cwd=_ROOT,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr, limit=_LINE_BYTES,
            )  # fmt: skip
        assert await self.answer() == "ready"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running.returncode is None:
            await self.kill()
        # reads the pipes to their end and so closes them
        await self.running.communicate()

    @property
    def running(self) -> asyncio.subprocess.Process:
        """The process."""
        assert self._process is not None
        return self._process

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.running.kill()
        await self.running.wait()

    async def stop(self) -> None:
        """SIGSTOP, and wait until it stands still; outside of a transaction on SQLite."""
        await freeze(self.running, "POSIX")

    def cont(self) -> None:
        """SIGCONT: go on after `stop`."""
        self.running.send_signal(signal.SIGCONT)

    async def answer(self) -> Any:
        """The next answer; `AssertionError` for an error, `EOFError` where the process is gone."""
        stdout = self.running.stdout
        assert stdout is not None
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = await stdout.readline()
        if not line.endswith(b"\n"):
            raise EOFError("the worker process is gone")
        result, error = msgspec.json.decode(line)
        assert error is None, error
        return result

    async def ask(self, kind: type[T], command: str, *arguments: Any) -> T:
        """Have `command` done, and its answer."""
        async with self._turn:
            await self.say(command, *arguments)
            return msgspec.convert(await self.answer(), kind)

    async def say(self, command: str, *arguments: Any) -> None:
        """Have `command` begun; its answer comes with `answer`."""
        stdin = self.running.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode((command, arguments)) + b"\n")
        await stdin.drain()
