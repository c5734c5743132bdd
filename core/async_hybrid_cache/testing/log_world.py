"""What a broker hands to `LogContract`: one isolated log, and the power to harm it."""

from __future__ import annotations

import asyncio
import functools
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal, Protocol, TypeVar

import pytest

from async_hybrid_cache.log import EventLog
from async_hybrid_cache.testing.worlds import World

__all__ = ["FLAGS", "WRONG_PASSWORD", "Flag", "LogWorld", "Server", "Wire", "broken", "cut_off", "needs", "slowed"]

Flag = Literal["survives_restart", "has_server", "has_credentials"]
FLAGS: tuple[Flag, ...] = ("survives_restart", "has_server", "has_credentials")
WRONG_PASSWORD = "not-the-password-4711"
"""What `LogWorld.make_intruder` logs in with."""

F = TypeVar("F", bound=Callable[..., None])


class Server(Protocol):
    """The process behind a log, which runs when a test begins and when it ends. The methods may block."""

    def start(self) -> None:
        """Start where `kill` left it, on the same address and data; returns once it answers."""

    def kill(self) -> None:
        """SIGKILL."""

    def stop(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""

    def cont(self) -> None:
        """SIGCONT: go on after `stop`."""


class Wire(Protocol):
    """The connection of one client, or of a few, to the server; it is whole when a test begins and ends."""

    def cut(self) -> None:
        """Break every connection and refuse new ones."""

    def heal(self) -> None:
        """Accept connections again after `cut`."""

    def stall(self) -> None:
        """Carry nothing in either direction, and leave connections open."""

    def flow(self) -> None:
        """Carry again after `stall`, beginning with what waited."""

    def delay(self, seconds: float) -> None:
        """Hold back what passes in each direction by at least `seconds`; 0 ends it."""


class LogWorld(World[EventLog]):
    """One isolated log, and what can happen to it.

    The three flags are all that a row of the contract may be skipped for:

    - `survives_restart`: records outlive the process or server that holds them. Asks for `back_up` and
      `restore`, and for `restart` where there is no server.
    - `has_server`: there is a server that can be killed. Asks for `server`, `wire` and `make_distant`.
    - `has_credentials`: it can refuse a client. Asks for `make_intruder` and `make_guest`.
    """

    survives_restart = True
    has_server = True
    has_credentials = True

    server: Server
    wire: Wire

    @abstractmethod
    async def delete(self) -> None:
        """Delete the log, behind the back of every handle."""

    @abstractmethod
    async def trim(self, keep: int) -> None:
        """Have the log drop its oldest records, and keep the newest `keep`, or a few more.

        May append a record of its own, with an id that is unique and empty data.
        """

    async def restart(self) -> None:
        """Kill at once what holds the log, and bring it back."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)

    async def back_up(self) -> None:
        """Keep a copy of the log as it is now. May restart the server."""
        raise NotImplementedError

    async def restore(self) -> None:
        """Put that copy in the place of the log, behind the back of every handle. May restart the server."""
        raise NotImplementedError

    def make_distant(self) -> EventLog:
        """A handle like that of `make`, all of whose connections pass through `wire`."""
        raise NotImplementedError

    def make_intruder(self) -> EventLog:
        """A handle with `WRONG_PASSWORD`."""
        raise NotImplementedError

    def make_guest(self) -> EventLog:
        """A handle whose user may read the log, and not create it."""
        raise NotImplementedError

    def keep(self, handle: EventLog) -> EventLog:
        """`handle`, which will be closed with the world."""
        self.handles.append(handle)
        return handle


def needs(flag: Flag) -> Callable[[F], F]:
    """A row of the contract for worlds with this flag; in others it is skipped, naming the flag."""

    def mark(test: F) -> F:
        @functools.wraps(test)
        def run(self: Any, world: LogWorld, **parameters: Any) -> None:
            if not getattr(world, flag):
                pytest.skip(f"{flag} = False")
            test(self, world, **parameters)

        return run  # type: ignore[return-value]

    return mark


@asynccontextmanager
async def broken(world: LogWorld, how: str) -> AsyncIterator[None]:
    """The server of `world` is `killed` or `frozen` inside the block, and well after it."""
    begin, end = {"killed": ("kill", "start"), "frozen": ("stop", "cont")}[how]
    await asyncio.to_thread(getattr(world.server, begin))
    try:
        yield
    finally:
        await asyncio.to_thread(getattr(world.server, end))


@contextmanager
def cut_off(world: LogWorld, how: str) -> Iterator[None]:
    """The wire of `world` is `cut` or `stalled` inside the block, and whole after it."""
    begin, end = {"cut": ("cut", "heal"), "stalled": ("stall", "flow")}[how]
    getattr(world.wire, begin)()
    try:
        yield
    finally:
        getattr(world.wire, end)()


@contextmanager
def slowed(world: LogWorld, seconds: float) -> Iterator[None]:
    """What passes through the wire of `world` is held back by `seconds` each way inside the block."""
    world.wire.delay(seconds)
    try:
        yield
    finally:
        world.wire.delay(0)
