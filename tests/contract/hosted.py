"""Worlds on a server that is started for one module, and that its rows may break."""

from __future__ import annotations

import asyncio
import shutil
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from async_hybrid_cache.log import EventLog
from async_hybrid_cache.testing import WRONG_PASSWORD, LogWorld
from tests.servers.kinds import server_kind
from tests.servers.proxy import Proxy
from tests.servers.server import LocalServer, User

__all__ = ["GUEST", "OWNER", "Host", "HostedWorld", "hosted"]

OWNER = User("owner", "the-password-of-the-owner")
GUEST = User("guest", "the-password-of-a-guest", creates=False)


class Host:
    """A server that knows `OWNER` and `GUEST`, and a proxy in front of it."""

    def __init__(self, server: LocalServer, proxy: Proxy) -> None:
        self.server = server
        self.proxy = proxy
        self.url = server.url
        self.proxy_url = proxy.url
        self.intruder_url = server.url_of(replace(OWNER, password=WRONG_PASSWORD))
        self.guest_url = server.url_of(GUEST)


@contextmanager
def hosted(kind: str, folders: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with a `valkey`, `nats` or `kafka` server."""
    with closing(server_kind(kind)(folders.mktemp(kind) / "server", users=[OWNER, GUEST])) as server:
        server.open()
        with server.proxy() as proxy:
            yield Host(server, proxy)


class HostedWorld(LogWorld):
    """A log on such a server; what its folder holds can be put back as it was."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.host = host
        self.server = host.server
        self.wire = host.proxy

    @abstractmethod
    def make_at(self, url: str) -> EventLog:
        """A handle on the log of this world at `url`."""

    def make(self) -> EventLog:
        return self.make_at(self.host.url)

    def make_distant(self) -> EventLog:
        return self.make_at(self.host.proxy_url)

    def make_intruder(self) -> EventLog:
        return self.make_at(self.host.intruder_url)

    def make_guest(self) -> EventLog:
        return self.make_at(self.host.guest_url)

    async def back_up(self) -> None:
        # frozen, it leaves its files as a kill -9 would, and goes on
        await asyncio.to_thread(self.host.server.stop)
        await asyncio.to_thread(_replace, self.host.server.folder, self._copy)
        await asyncio.to_thread(self.host.server.cont)

    async def restore(self) -> None:
        await asyncio.to_thread(self.host.server.kill)
        await asyncio.to_thread(_replace, self._copy, self.host.server.folder)
        await asyncio.to_thread(self.host.server.start)

    @property
    def _copy(self) -> Path:
        folder = self.host.server.folder
        return folder.with_name(f"{folder.name}-copy")


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
