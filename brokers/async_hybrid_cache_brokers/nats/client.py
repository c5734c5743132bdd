"""One connection of our own: it never reconnects by itself, and what waits on it fails at once when it is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, MaxPayloadError, NoRespondersError
from nats.js.errors import APIError

from .address import Address
from .entry import AccessRefused, Entrant, abort, enter, leave

__all__ = ["CALL_SECONDS", "Connection"]

CALL_SECONDS = 5.0

T = TypeVar("T")


class Connection:
    """A connection to one of the servers of `address`. Once lost it stays lost.

    Bound to the loop that it is connected in. Errors are the driver's, `nats.errors.Error` (`AccessRefused` and
    JetStream's `APIError` among them) or `OSError` (`TimeoutError` among them). Calls may run at the same time and
    may be cancelled; the connection survives that.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = Entrant()
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
        """Connect, once, to the server that lets us in first."""
        self._lost, self._reason = False, None
        client = await enter(self._address)
        if self._lost:  # dropped meanwhile
            await leave(client)
            raise self._closed()
        self._client = client
        client.on_error = self._on_error
        client._reading_task.add_done_callback(self._on_end)  # type: ignore[union-attr]
        try:
            self._inbox = self.new_inbox()
            await self.subscribe(f"{self._inbox}.*", self._on_reply)
        except BaseException:
            await self.drop()
            raise

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

    @contextmanager
    def losing(self, lose: Callable[[], object]) -> Iterator[None]:
        """Within the context, call `lose` where the connection is lost, or was before."""
        if not self.alive:
            lose()
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lost.add_done_callback(lambda _: lose())
        self._waiting.add(lost)
        try:
            yield
        finally:
            self._waiting.discard(lost)

    async def drop(self) -> None:
        """Cut the connection, without waiting for a server that may be frozen. Never raises."""
        self._lost = True
        self._fail(self._closed)
        await leave(self._client)

    def _on_error(self, error: Exception) -> None:
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
        abort(self._client)

    def _fail(self, error: Callable[[], Exception]) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(error())
                future.exception()  # who waits may be cancelled before it hears of this

    def _closed(self) -> Exception:
        error = ConnectionClosedError()
        error.__cause__ = self._reason or self._client.last_error
        return error
