"""The driver: reads and writes users over HTTP, and tells the checker what was answered."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from time import perf_counter

import httpx

from .checker import Checker, Position, Read, Write, parse_position
from .fleet import Fleet, Member

__all__ = ["Traffic"]

_USERS = 40
_READERS = 6
_READ_EVERY_SECONDS = 0.01
_WRITE_EVERY_SECONDS = 0.05
_LOAD_SECONDS = 0.02
_GONE_WITHIN_SECONDS = 2.0
_DELETES = 0.05


class Traffic:
    """What many clients do at once, on all processes that are up.

    `head` is the newest position that a write was answered with, `writes` how many were answered, `gone` the seconds
    from a write's answer until another process had taken up a read that showed it, `failed` what should not happen.
    """

    def __init__(self, fleet: Fleet, checker: Checker) -> None:
        self._fleet = fleet
        self._checker = checker
        self._rng = random.Random()
        # new names in every run: a server may remember those of the last one
        run = f"{self._rng.getrandbits(32):08x}"
        self.users = [f"{run}-{number}" for number in range(_USERS)]
        self._names = itertools.count(1)
        self.head: Position = (0, 0)
        self.writes = 0
        self.gone: list[float] = []
        self.failed: list[str] = []

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as clients:
            for _ in range(_READERS):
                clients.create_task(self._repeat(self._read, _READ_EVERY_SECONDS))
            for client in (self._write_and_watch, self._race):
                clients.create_task(self._repeat(client, _WRITE_EVERY_SECONDS))

    async def read_all(self) -> None:
        """Every user once on every process."""
        for user in self.users:
            await asyncio.gather(*(self.get(member, user) for member in self._fleet.up))

    async def get(self, member: Member, user: str) -> tuple[int, float] | None:
        """Read; the version shown and when at the latest the process took the request up."""
        began = perf_counter()
        response = await self._request(member, "GET", user)
        if response is None:
            return None
        answered = perf_counter()
        version = int(response.headers["X-Version"])
        position = parse_position(response.headers["X-Applied-Position"])
        self._checker.read(Read(user, version, member.name, position, began))
        handling = float(response.headers["Server-Timing"].rpartition("=")[2]) / 1e3
        return version, answered - handling

    async def put(self, member: Member, user: str) -> Write | None:
        """Write, or now and then delete."""
        if self._rng.random() < _DELETES:
            response = await self._request(member, "DELETE", user)
        else:
            response = await self._request(member, "PUT", user, json={"name": f"Peter {next(self._names)}"})
        if response is None:
            return None
        version = int(response.headers["X-Version"])
        position = parse_position(response.headers.get("X-Position"))
        write = Write(user, version, member.name, position, perf_counter())
        self._checker.wrote(write)
        self.writes += 1
        self.head = max(self.head, position or self.head)
        return write

    async def _repeat(self, client: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            await client()
            await asyncio.sleep(self._rng.random() * 2 * pause)

    async def _read(self) -> None:
        # the first users are the popular ones
        user = self.users[int(_USERS * self._rng.random() ** 2)]
        await self.get(self._rng.choice(self._fleet.up), user)

    async def _write_and_watch(self) -> None:
        """Write through one process what another one holds, and see when it is gone there."""
        here, there = self._rng.sample(self._fleet.up, 2)
        user = self._rng.choice(self.users)
        await self.get(there, user)
        write = await self.put(here, user)
        while write is not None:
            answer = await self.get(there, user)
            if answer is None:
                return
            version, taken_up = answer
            if version >= write.version:
                self.gone.append(max(0.0, taken_up - write.answered))
                return
            if taken_up > write.answered + _GONE_WITHIN_SECONDS:
                self.failed.append(f"{user} was still old on {there.name} {_GONE_WITHIN_SECONDS:g} s after the write")
                return

    async def _race(self) -> None:
        """Writes that overtake the loads of the same user, on every process."""
        user = self._rng.choice(self.users)
        await self.put(self._rng.choice(self._fleet.up), user)
        loads = [asyncio.create_task(self.get(member, user)) for member in self._fleet.up]
        await asyncio.sleep(self._rng.random() * _LOAD_SECONDS)
        await self.put(self._rng.choice(self._fleet.up), user)
        await asyncio.gather(*loads)

    async def _request(
        self, member: Member, method: str, user: str, json: dict[str, str] | None = None
    ) -> httpx.Response | None:
        """The answer; None where there was none, which is a failure unless the process was killed."""
        life = member.lives
        try:
            response = await member.http.request(method, f"/users/{user}", json=json)
        except (httpx.TransportError, RuntimeError) as error:
            if member.up and member.lives == life:
                self.failed.append(f"{method} on {member.name}: {error!r}")
            return None
        if response.status_code not in (200, 204, 404):
            self.failed.append(f"{method} on {member.name}: status {response.status_code}")
            return None
        return response
