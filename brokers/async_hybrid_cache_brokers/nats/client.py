"""One connection of our own: it never reconnects by itself, and what waits on it fails at once when it is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, Error, MaxPayloadError, NoRespondersError
from nats.js.errors import APIError

from .address import Address

__all__ = ["CALL_SECONDS", "AccessRefused", "Connection"]

CONNECT_SECONDS = 5.0
CALL_SECONDS = 5.0
_IMPATIENT_SECONDS = 0.3
_PING_SECONDS = 2
_DROP_SECONDS = 1.0

# what a server says in lower case, and nats-py has no class for
_REFUSALS = ("authorization violation", "authentication expired", "authentication revoked")

T = TypeVar("T")


class AccessRefused(Error):
    """Credentials, permissions or files that will not do: trying again is no use."""


class _Client(Client):
    tls_wanted = False

    def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> Any:
        # nats-py speaks plain text where the server does not ask for more; this is before it says who we are
        if initial_connection and self.tls_wanted:
            info["tls_required"] = True
        return super()._process_info(info, initial_connection)


class Connection:
    """A connection to one of the servers of `address`. Once lost it stays lost.

    Bound to the loop that it is connected in. Errors are the driver's, `nats.errors.Error` (`AccessRefused` and
    JetStream's `APIError` among them) or `OSError` (`TimeoutError` among them). Calls may run at the same time and
    may be cancelled; the connection survives that.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = _Client()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._replies: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._tokens = itertools.count()
        self._inbox = ""
        self._lost = False
        self._reason: Exception | None = None

    @property
    def alive(self) -> bool:
        """Whether nothing is known to be wrong with the connection."""
        return bool(self._client.is_connected) and not self._lost

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor version of the server."""
        version = self._client.connected_server_version
        return int(version.major), int(version.minor)

    @property
    def max_payload(self) -> int:
        """Bytes that the server takes in one message, headers included."""
        return self._client.max_payload

    async def connect(self) -> None:
        """Connect to any of the servers, once: to the first that answers soon, else to one that answers at all."""
        servers = random.sample(self._address.servers, len(self._address.servers))
        rounds = (_IMPATIENT_SECONDS, CONNECT_SECONDS) if len(servers) > 1 else (CONNECT_SECONDS,)
        failure: Exception = Error("no server")
        for seconds in rounds:
            for server in servers:
                try:
                    return await self._connect(server, seconds)
                except AccessRefused:
                    raise
                except (Error, OSError) as error:
                    failure = error
        raise failure

    async def request(
        self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None, seconds: float = CALL_SECONDS
    ) -> Msg:
        """The reply to one message, `NoRespondersError` where nobody is there to give one."""
        token = str(next(self._tokens))
        reply: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._replies[token] = subject, reply
        try:
            await self.send(subject, data, headers, reply_to=f"{self._inbox}.{token}")
            message = await self.wait(reply, seconds)
        finally:
            del self._replies[token]
        if message.headers and message.headers.get("Status") == "503":
            raise NoRespondersError
        return message

    async def call(
        self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None, seconds: float = CALL_SECONDS
    ) -> dict[str, Any]:
        """The answer of JetStream to one message; `APIError` where that is an error."""
        answer: dict[str, Any] = json.loads((await self.request(subject, data, headers, seconds)).data)
        if error := answer.get("error"):
            raise APIError(error.get("code"), error.get("description"), error.get("err_code"))
        return answer

    async def api(
        self, operation: str, request: Mapping[str, Any] | None = None, seconds: float = CALL_SECONDS
    ) -> dict[str, Any]:
        """The answer of JetStream's API, e.g. to `STREAM.INFO.name`."""
        data = b"" if request is None else json.dumps(request).encode()
        return await self.call(f"$JS.API.{operation}", data, seconds=seconds)

    async def send(
        self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None, *, reply_to: str = ""
    ) -> None:
        """Send one message, and do not wait for anything."""
        if not self.alive:
            raise self._closed()
        size = len(data) + sum(len(name) + len(value) + 4 for name, value in (headers or {}).items()) + 16
        if size > self.max_payload:  # the server would end the connection
            raise MaxPayloadError
        await self._client.publish(subject, data, reply_to, None if headers is None else dict(headers))

    async def subscribe(self, subject: str, receive: Callable[[Msg], None]) -> Subscription:
        """Have `receive` called with every message of `subject`, until the subscription's `unsubscribe`."""

        async def received(message: Msg) -> None:
            receive(message)

        # limits make nats-py drop messages without a word
        return await self._client.subscribe(subject, cb=received, pending_msgs_limit=0, pending_bytes_limit=0)

    def new_inbox(self) -> str:
        """A subject of our own."""
        return str(self._client.new_inbox())

    async def wait(self, future: asyncio.Future[T], seconds: float) -> T:
        """The result of `future`, which fails at once where the connection is lost; `TimeoutError` after `seconds`."""
        if not self.alive:
            raise self._closed()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        finally:
            self._waiting.discard(future)

    async def drop(self) -> None:
        """Cut the connection, without waiting for a server that may be frozen. Never raises."""
        client, self._lost = self._client, True
        tasks = [client._reading_task, client._ping_interval_task, client._flusher_task]
        tasks += [subscription._wait_for_msgs_task for subscription in client._subs.values()]
        running = [task for task in tasks if task is not None and not task.done()]
        for task in running:
            task.cancel()
        # not by its close(), which sends what was given up, and after a failed handshake waits for ever
        client._status = Client.CLOSED
        self._abort()
        self._fail(self._closed)
        if running:
            await asyncio.wait(running, timeout=_DROP_SECONDS)
        await asyncio.sleep(0)  # the transport is told in the next turn of the loop

    async def _connect(self, server: str, seconds: float) -> None:
        address = self._address
        try:
            context = address.ssl_context()
            address.check_files()
        except OSError as error:
            raise AccessRefused(f"a file cannot be used: {error}") from error
        self._client = _Client()
        self._client.tls_wanted = address.tls
        self._lost, self._reason = False, None
        # a task of its own, since nats-py can swallow a cancellation
        connecting = asyncio.ensure_future(
            self._client.connect(
                [server],
                error_cb=self._on_error,
                name="async-hybrid-cache",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=seconds,  # type: ignore[arg-type]
                ping_interval=_PING_SECONDS,
                pending_size=0,
                tls=context,
                tls_handshake_first=address.handshake_first,
                **address.login,
            )
        )
        try:
            await asyncio.wait({connecting}, timeout=seconds)
            if not connecting.done():
                raise TimeoutError(f"no answer within {seconds:g} s")
            connecting.result()
            if not self._client.is_connected or (address.tls and not self._encrypted):
                raise Error("the server did not let us in as we asked")
            self._client._reading_task.add_done_callback(self._on_end)  # type: ignore[union-attr]
            self._inbox = self.new_inbox()
            await self.subscribe(f"{self._inbox}.*", self._on_reply)
        except BaseException as error:
            connecting.cancel()
            await self.drop()
            if isinstance(error, Error) and any(text in str(error).lower() for text in _REFUSALS):
                raise AccessRefused(str(error)) from error
            if isinstance(error, (Error, OSError)):
                raise (self._reason or error) from error
            if isinstance(error, Exception):  # nats-py lets e.g. a seed that is none through as ValueError
                raise AccessRefused(f"{type(error).__name__} while connecting") from None
            raise

    @property
    def _encrypted(self) -> bool:
        writer = self._writer()
        return writer is not None and writer.get_extra_info("ssl_object") is not None

    def _writer(self) -> asyncio.StreamWriter | None:
        return getattr(self._client._transport, "_io_writer", None)

    def _abort(self) -> None:
        writer = self._writer()
        if writer is not None:
            writer.transport.abort()

    async def _on_error(self, error: Exception) -> None:
        """Nats-py tells here what it does not raise."""
        text = str(error)
        if "permissions violation" not in text:
            self._reason = error
        elif "for subscription to" in text:  # no reply will ever come
            self._fail(lambda: AccessRefused(text))
        else:
            for subject, reply in self._replies.values():
                if f'"{subject.lower()}"' in text and not reply.done():
                    reply.set_exception(AccessRefused(text))

    def _on_reply(self, message: Msg) -> None:
        _, reply = self._replies.get(message.subject.rpartition(".")[2], ("", None))
        if reply is not None and not reply.done():
            reply.set_result(message)

    def _on_end(self, reading: asyncio.Task[None]) -> None:
        self._lost = True
        failure = None if reading.cancelled() else reading.exception()
        if isinstance(failure, Exception):
            self._reason = failure
        self._fail(self._closed)
        self._abort()

    def _fail(self, error: Callable[[], Exception]) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(error())
                future.exception()  # who waits may be cancelled before it hears of this

    def _closed(self) -> Exception:
        error = ConnectionClosedError()
        error.__cause__ = self._reason or self._client.last_error
        return error
