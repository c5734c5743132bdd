"""Read your writes over HTTP, whichever instance answers: for FastAPI, Starlette and every other ASGI framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from .errors import ConfigurationError
from .exchange import Exchange, current
from .positions import Position

__all__ = ["CachePositionMiddleware", "requested_position"]

_LONGEST_TOKEN = 64

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


async def requested_position() -> Position | None:
    """The position that came with the current request, to be given to `at_least`; also as a FastAPI dependency."""
    exchange = current.get()
    return None if exchange is None else exchange.requested


class CachePositionMiddleware:
    """Tells every response the position of the newest change made in it, and every request the one that it brings.

    - `header` (`x-cache-position`): the header of both; a client sends back what it got last.
    - `cookie` (None): a cookie that carries it as well, for browsers; None for none.

    A token that is none is ignored: it is the client's word. Changes made after the response has begun, as those of
    background tasks are, are not told.
    """

    def __init__(self, app: App, *, header: str = "x-cache-position", cookie: str | None = None) -> None:
        self._app = app
        self._header = header.lower().encode("latin-1")
        self._cookie = cookie

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection; only those of HTTP are looked into."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(self._requested(scope["headers"]))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and exchange.newest is not None:
                message = {**message, "headers": [*message.get("headers", ()), *self._told(exchange.newest)]}
            await send(message)

        token = current.set(exchange)
        try:
            await self._app(scope, receive, sending)
        finally:
            current.reset(token)

    def _requested(self, headers: Iterable[tuple[bytes, bytes]]) -> Position | None:
        found: list[Position] = []
        for name, value in headers:
            text = value.decode("latin-1")
            if name.lower() == self._header:
                found += _parsed(text)
            elif self._cookie is not None and name.lower() == b"cookie":
                found += _parsed(_cookie(text, self._cookie))
        return max(found, default=None)

    def _told(self, position: Position) -> list[tuple[bytes, bytes]]:
        token = str(position).encode()
        told = [(self._header, token)]
        if self._cookie is not None:
            told.append(
                (b"set-cookie", self._cookie.encode("latin-1") + b"=" + token + b"; Path=/; HttpOnly; SameSite=Lax")
            )
        return told


def _parsed(token: str) -> list[Position]:
    try:
        return [Position.parse(token)] if 0 < len(token) <= _LONGEST_TOKEN else []
    except ConfigurationError:
        return []


def _cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value
