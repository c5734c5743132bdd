"""A worker process as its parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import psutil

from async_hybrid_cache.stats import CacheStats
from async_hybrid_cache.testing.waiting import eventually

from .database import Database
from .member import Browsed, Change, Written
from .tape import Heard

__all__ = ["Process"]

T = TypeVar("T")
_ROOT = Path(__file__).parents[2]
_ANSWER_SECONDS = 20.0
_LINE_BYTES = 16 * 1024 * 1024


class Process:
    """A `Member` in a process of its own, with its methods; to be killed, frozen and thawed.

    An async context manager: started and connected when it is entered, gone when it is left. What it logs goes to
    `log`, or where this process's own goes. The bound on staleness is the shipped one unless told; infinity is none.
    """

    def __init__(
        self, database: Database, *place: str, log: Path | None = None, max_staleness_seconds: float | None = None
    ) -> None:
        self._log = log
        bound = "" if max_staleness_seconds is None else str(max_staleness_seconds)
        self._arguments = [str(database.folder), bound, *place]
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Process:
        with contextlib.ExitStack() as files:
            stderr = None if self._log is None else files.enter_context(self._log.open("ab"))
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-W", "error", "-m", "tests.faults.worker", *self._arguments, cwd=_ROOT,
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
        """SIGSTOP, and wait until it stands still."""
        self.running.send_signal(signal.SIGSTOP)
        process = psutil.Process(self.running.pid)
        await eventually(lambda: process.status() == psutil.STATUS_STOPPED)

    def cont(self) -> None:
        """SIGCONT: go on after `stop`."""
        self.running.send_signal(signal.SIGCONT)

    async def read_all(self, keys: Sequence[str]) -> list[int | None]:
        """See `Member.read_all`."""
        return await self._ask(list[int | None], "read_all", keys)

    async def remove(self, *keys: str) -> Change:
        """See `Member.remove`."""
        return await self._ask(Change, "remove", *keys)

    async def write(self, key: str) -> Change:
        """See `Member.write`."""
        return await self._ask(Change, "write", key)

    async def stats(self) -> CacheStats:
        """See `Member.stats`."""
        return await self._ask(CacheStats, "stats")

    async def browse(self, keys: Sequence[str]) -> None:
        """See `Member.browse`."""
        await self._ask(type(None), "browse", keys)

    async def rest(self) -> Browsed:
        """See `Member.rest`."""
        return await self._ask(Browsed, "rest")

    async def write_on(self, name: str, keys: Sequence[str], pause: float) -> None:
        """See `Member.write_on`."""
        await self._ask(type(None), "write_on", name, keys, pause)

    async def written(self) -> list[Written]:
        """See `Member.written`."""
        return await self._ask(list[Written], "written")

    async def listen(self) -> None:
        """See `Member.listen`."""
        await self._ask(type(None), "listen")

    async def heard(self) -> list[Heard]:
        """See `Member.heard`."""
        return await self._ask(list[Heard], "heard")

    async def hammer(self, prefix: str) -> None:
        """Let it write without end; what it acknowledges comes with `answer`."""
        await self._say("hammer", prefix)

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

    async def _ask(self, kind: type[T], command: str, *arguments: Any) -> T:
        async with self._turn:
            await self._say(command, *arguments)
            return msgspec.convert(await self.answer(), kind)

    async def _say(self, command: str, *arguments: Any) -> None:
        stdin = self.running.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode((command, arguments)) + b"\n")
        await stdin.drain()
