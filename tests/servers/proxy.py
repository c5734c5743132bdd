"""A TCP proxy that cuts, stalls or slows the connections of one client alone."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from .ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from .certificates import Certificates

__all__ = ["Proxy"]


class Proxy:
    """Forwards one port to the server behind `url`; a context manager.

    With `tls`, its clients speak TLS to it, and it plain text to the server: `url` says `rediss` for `redis`.

    Give each client its own, and cut one without the others noticing. It runs an event loop in a thread of
    its own, so that it goes on while a test's loop is busy, and its methods may be called from any thread and
    from coroutines. What a method does has happened when it returns.
    """

    def __init__(self, url: str, *, port: int | None = None, tls: Certificates | None = None) -> None:
        self._server = _address(url)
        self._tls = tls
        self.port = port or free_port()
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(
            parts._replace(
                scheme=parts.scheme if tls is None else f"{parts.scheme}s",
                netloc=f"{credentials}{at}{LOOPBACK}:{self.port}",
            )
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._delay_seconds = 0.0
        self._links: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    def __enter__(self) -> Proxy:
        self._thread.start()
        self.flow()
        self.heal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def closed(self) -> bool:
        """Whether its context has ended."""
        return self._loop.is_closed()

    def target(self, url: str) -> None:
        """Forward to the server behind `url` from now on. Connections to the one before break."""
        self._run(self._target(_address(url)))

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._run(self._cut())

    def heal(self) -> None:
        """Accept connections again after `cut`."""
        self._run(self._heal())

    def stall(self) -> None:
        """Forward nothing in either direction; connections stay open, and new ones are accepted."""
        self._run(self._set_flowing(False))

    def flow(self) -> None:
        """Forward again after `stall`, beginning with what waited."""
        self._run(self._set_flowing(True))

    def delay(self, seconds: float) -> None:
        """Hold back what passes in each direction by at least `seconds`, at most twice that; 0 ends it."""
        self._delay_seconds = seconds

    def _run(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(timeout=10)

    async def _target(self, server: tuple[str, int]) -> None:
        self._server = server
        await self._break()

    async def _cut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            for accepting in listener.sockets:
                self._loop.remove_reader(accepting.fileno())
            for _ in range(3):
                await asyncio.sleep(0)  # asyncio loses a connection that is half accepted when it closes
            listener.close()
        await self._break()

    async def _break(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _shut(self) -> None:
        await self._cut()
        # a connection may be half accepted still
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        await asyncio.sleep(0)

    async def _heal(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(
                self._accept, LOOPBACK, self.port, ssl=self._tls.server_context() if self._tls else None
            )

    async def _set_flowing(self, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._listener is None:
            writer.transport.abort()
            return
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        link.add_done_callback(lambda _: writer.transport.abort())  # also where it is cancelled before it began

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_connection(*self._server)
            try:
                pumps = [
                    asyncio.create_task(self._pump(reader, server_writer)),
                    asyncio.create_task(self._pump(server_reader, writer)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
            finally:
                server_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._delay_seconds:
                await asyncio.sleep(self._delay_seconds)
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        await self._flowing.wait()  # a stalled network does not carry the end of a connection either


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname is None or parts.port is None:
        raise ValueError("the server's URL must name host and port")
    return parts.hostname, parts.port
