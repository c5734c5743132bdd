"""The processes: started, killed and started again, and asked for their counters."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import httpx

from .checker import Position, parse_position

__all__ = ["NAMESPACE", "Fleet", "Member", "MemberFailed"]

NAMESPACE = "ahc-demo"
"""What the demo keeps apart from others on the same server."""

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 20.0
_STOP_SECONDS = 8.0
# below Linux's ephemeral range, or a client could connect to itself on the port of a dead process
_PORTS = range(20_000, 32_000)


class MemberFailed(Exception):
    """A process that did not start; the message has the end of its log."""


class Member:
    """One process of the service. `counts` adds up over all its lives, `position` is the last one that it told."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.up = False
        self.position: Position | None = None
        self.lives = 0
        self._environment = {**os.environ, **environment, "INSTANCE_ID": name, "STATE_FOLDER": str(folder)}
        self._log = folder / f"{name}.log"
        self._port = _free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._before: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self.http = httpx.AsyncClient()

    @property
    def pid(self) -> int | None:
        """The process id; None while it is dead."""
        return self._process.pid if self._process else None

    @property
    def counts(self) -> Counter[str]:
        """The counters of `refresh`, all lives together."""
        return self._before + self._now

    async def start(self, until: Position | None = None) -> float:
        """Start, and wait until the log is applied up to `until`; how many seconds that took."""
        began = perf_counter()
        self.lives += 1
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=10)
        command = [sys.executable, "-m", "uvicorn", "examples.service:app", "--port", str(self._port)]
        with self._log.open("ab") as log:
            # a session of its own: Ctrl-C is for the demo, which then stops its processes in order
            self._process = process = await asyncio.create_subprocess_exec(
                *command, "--log-level", "warning", "--no-access-log",
                cwd=_ROOT, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        while True:
            with contextlib.suppress(httpx.TransportError):
                health = (await self.http.get("/healthz")).json()
                self.position = parse_position(health["position"])
                if health["status"] == "ok" and self.position and self.position >= (until or self.position):
                    break
            if process.returncode is not None or perf_counter() > began + _START_SECONDS:
                raise MemberFailed(f"{self.name} did not start:\n{self._log.read_text()[-2000:]}")
            await asyncio.sleep(0.01)
        seconds = perf_counter() - began
        await self.refresh()
        self.up = True
        return seconds

    async def kill(self) -> None:
        """SIGKILL. What is under way with it fails, as it should."""
        with contextlib.suppress(httpx.TransportError):
            await self.refresh()
        self.up = False
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()
        await self.http.aclose()
        self._before, self._now = self.counts, Counter()

    async def refresh(self) -> None:
        """Ask for the counters."""
        process = self._process
        told = (await self.http.get("/stats")).json()
        if process is not self._process:
            return
        stream: dict[str, Any] = told["stream"]
        self.position = parse_position(stream["position"])
        self._now = Counter(
            hits=told["hits"],
            misses=told["misses"],
            loads=told["loads"],
            fenced=told["fills_fenced"] + told["distributed"]["fills_refused"],
            events=stream["events_applied"],
            replayed=stream["events_replayed"],
            gaps=stream["gap_total"],
        )

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that takes too long. `up` stays: the last picture is that of the run."""
        await self.http.aclose()
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Fleet:
    """Three processes that share a broker and a database, as an async context manager."""

    def __init__(self, broker: str, folder: Path, query_seconds: float) -> None:
        shared = {
            "BROKER_URL": broker,
            "NAMESPACE": NAMESPACE,
            "DATABASE": str(folder / "users.db"),
            "QUERY_SECONDS": str(query_seconds),
        }
        self.members = [Member(f"users-{number}", folder, shared) for number in (1, 2, 3)]

    async def __aenter__(self) -> Fleet:
        try:
            # one after the other the first time: they create the database
            for member in self.members:
                await member.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def up(self) -> list[Member]:
        """Those that answer."""
        return [member for member in self.members if member.up]

    @property
    def head(self) -> Position:
        """The newest position that any of them has told."""
        return max(member.position or (0, 0) for member in self.members)

    def total(self, counter: str) -> int:
        """One counter over all of them."""
        return sum(member.counts[counter] for member in self.members)

    async def refresh(self) -> None:
        """Ask those that are up for their counters."""
        for member in self.up:
            with contextlib.suppress(httpx.TransportError, RuntimeError):
                await member.refresh()

    async def stop(self) -> None:
        """Stop them all."""
        await asyncio.gather(*(member.stop() for member in self.members))


def _free_port() -> int:
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise MemberFailed("no free port")
