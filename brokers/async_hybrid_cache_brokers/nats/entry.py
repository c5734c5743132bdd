"""Being let in: a client of nats-py that is connected as was asked for, to the server that is quickest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from nats.aio.client import Client
from nats.errors import Error

from .address import Address

__all__ = ["AccessRefused", "Entrant", "abort", "enter", "leave"]

_CONNECT_SECONDS = 5.0
_HEAD_START_SECONDS = 0.3
_PING_SECONDS = 2
_LEAVE_SECONDS = 1.0
_CANCELLATIONS = 10

# what a server says in lower case, and nats-py has no class for
_REFUSALS = ("authorization violation", "authentication expired", "authentication revoked")


class AccessRefused(Error):
    """Credentials, permissions or files that will not do: trying again is no use."""


class Entrant(Client):
    """A client that speaks TLS where it was told to, and says what is wrong with it to `on_error`."""

    def __init__(self) -> None:
        super().__init__()
        self.tls_wanted = False
        self.reason: Exception | None = None
        """What it told last while nobody listened."""
        self.on_error: Callable[[Exception], None] = self._remember

    async def tell(self, error: Exception) -> None:
        """What nats-py calls with what it does not raise."""
        self.on_error(error)

    def _remember(self, error: Exception) -> None:
        self.reason = error

    def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> Any:
        # nats-py speaks plain text where the server does not ask for more; this is before it says who we are
        if initial_connection and self.tls_wanted:
            info["tls_required"] = True
        return super()._process_info(info, initial_connection)


async def enter(address: Address) -> Entrant:
    """A connection to the first server that lets us in; each is asked a moment after the one before, in any order.

    Nobody who is only slow is given up for the next one. Raises the driver's errors, of the last server to fail.
    """
    servers = random.sample(address.servers, len(address.servers))
    failure: BaseException = Error("no server")
    tried: list[asyncio.Task[Entrant]] = []
    waiting: set[asyncio.Task[Entrant]] = set()
    won: asyncio.Task[Entrant] | None = None
    try:
        while servers or waiting:
            if servers:
                tried.append(asyncio.create_task(_enter(address, servers.pop(0))))
                waiting.add(tried[-1])
            patience = _HEAD_START_SECONDS if servers else None
            done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    won = task
                    return task.result()
                if isinstance(error, AccessRefused) or not isinstance(error, (Error, OSError)):
                    raise error
                failure = error
        raise failure
    finally:
        others = [task for task in tried if task is not won]
        for task in others:
            task.cancel()
        for client in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(client, Entrant):
                await leave(client)


async def leave(client: Client) -> None:
    """Cut the connection, without waiting for a server that may be frozen. Never raises."""
    tasks = [client._reading_task, client._ping_interval_task, client._flusher_task]
    tasks += [subscription._wait_for_msgs_task for subscription in client._subs.values()]
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    # not by its close(), which sends what was given up, and after a failed handshake waits for ever
    client._status = Client.CLOSED
    abort(client)
    if running:
        await asyncio.wait(running, timeout=_LEAVE_SECONDS)
    await asyncio.sleep(0)  # the transport is told in the next turn of the loop


def abort(client: Client) -> None:
    """Close the socket at once."""
    writer = _writer(client)
    if writer is not None:
        writer.transport.abort()


async def _enter(address: Address, server: str) -> Entrant:
    try:
        context = address.ssl_context()
        address.check_files()
    except OSError as error:
        raise AccessRefused(f"a file cannot be used: {error}") from error
    client = Entrant()
    client.tls_wanted = address.tls
    connecting = asyncio.ensure_future(
        client.connect(
            [server],
            error_cb=client.tell,
            name="async-hybrid-cache",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_SECONDS,  # type: ignore[arg-type]
            ping_interval=_PING_SECONDS,
            pending_size=0,
            tls=context,
            tls_handshake_first=address.handshake_first,
            **address.login,
        )
    )
    try:
        await asyncio.wait({connecting}, timeout=_CONNECT_SECONDS)
        if not connecting.done():
            raise TimeoutError(f"no answer within {_CONNECT_SECONDS:g} s")
        connecting.result()
        if not client.is_connected or (address.tls and not _encrypted(client)):
            raise Error("the server did not let us in as we asked")
    except BaseException as error:
        await _given_up(connecting)
        await leave(client)
        if isinstance(error, Error) and any(text in str(error).lower() for text in _REFUSALS):
            raise AccessRefused(str(error)) from error
        if isinstance(error, (Error, OSError)):
            raise (client.reason or error) from error
        if isinstance(error, Exception):  # nats-py lets e.g. a seed that is none through as ValueError
            raise AccessRefused(f"{type(error).__name__} while connecting") from None
        raise
    return client


async def _given_up(connecting: asyncio.Task[None]) -> None:
    # a cancellation that comes when what is waited for has just arrived is lost on nats-py, and it goes on
    for _ in range(_CANCELLATIONS):
        connecting.cancel()
        await asyncio.wait({connecting}, timeout=_LEAVE_SECONDS / _CANCELLATIONS)
        if connecting.done():
            break
    if connecting.done() and not connecting.cancelled():
        connecting.exception()


def _encrypted(client: Client) -> bool:
    writer = _writer(client)
    return writer is not None and writer.get_extra_info("ssl_object") is not None


def _writer(client: Client) -> asyncio.StreamWriter | None:
    return getattr(client._transport, "_io_writer", None)
