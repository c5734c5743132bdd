"""One connection to one broker. aiokafka's own client would retry, wait and reconnect behind our back."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from aiokafka.conn import create_conn  # type: ignore[import-untyped]
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]
from aiokafka.protocol.admin import SaslAuthenticateRequest  # type: ignore[import-untyped]

from .access import Access, Address

__all__ = ["CALL_SECONDS", "Link"]

CONNECT_SECONDS = 5.0
CALL_SECONDS = 5.0

_NEVER_MS = 86_400_000  # aiokafka's own bound on a request; `call` sets a better one


def _shows_no_login(record: logging.LogRecord) -> bool:
    return all(getattr(each, "API_KEY", None) != SaslAuthenticateRequest.API_KEY for each in record.args or ())


# at level DEBUG aiokafka writes down all that it sends, a password too
logging.getLogger("aiokafka.conn").addFilter(_shows_no_login)


class Link:
    """A connection whose requests are answered in order. Once lost it stays lost.

    Errors are the driver's: `KafkaError` or `OSError`. Whatever ends a call before its reply was read, a
    cancellation too, ends the connection, and with it the calls that wait behind.
    """

    def __init__(self, access: Access, address: Address) -> None:
        self._access = access
        self.address = address
        self._connection: Any = None

    async def connect(self) -> None:
        """Connect and log in, once."""
        async with asyncio.timeout(CONNECT_SECONDS):
            self._connection = await create_conn(
                *self.address,
                client_id="async-hybrid-cache",
                request_timeout_ms=_NEVER_MS,
                **self._access.options,
            )

    @property
    def alive(self) -> bool:
        """Whether nothing is known to be wrong with the connection."""
        return self._connection is not None and self._connection.connected()

    async def call(self, request: Any, seconds: float = CALL_SECONDS) -> Any:
        """The reply to one request."""
        if not self.alive:
            raise KafkaConnectionError("the connection was lost")
        try:
            async with asyncio.timeout(seconds):
                return await self._connection.send(request)
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Cut the connection, without waiting for a broker that may be frozen. Never raises."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(Exception):
            if connection._writer is not None:
                connection._writer.transport.abort()
            connection.close()
