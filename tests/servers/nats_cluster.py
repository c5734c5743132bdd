"""Three NATS servers that replicate their streams, on this machine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from . import nats_wire
from .nats import NatsServer
from .ports import LOOPBACK, free_ports
from .process import ServerFailed
from .server import with_free_ports

__all__ = ["NatsCluster"]

_SIZE = 3


class NatsCluster:
    """Streams of up to three replicas. Each of `nodes` can be killed, frozen and restarted by itself.

    Clients are told of no further addresses, so a proxy in front of one node is not gone round.
    """

    def __init__(self, folder: Path) -> None:
        routes = free_ports(_SIZE)
        self.nodes = [_Node(folder / f"node{number}", number, routes) for number in range(_SIZE)]

    @property
    def url(self) -> str:
        """One URL that names all the nodes."""
        return "nats://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def open(self) -> None:
        """Start every node; returns once streams can be made."""
        with_free_ports(self._start, self._assign)
        probe = {"name": "probe", "subjects": ["probe"], "storage": "memory", "num_replicas": _SIZE}
        self._ask("$JS.API.STREAM.CREATE.probe", json.dumps(probe).encode(), lambda reply: "error" not in reply)
        self._ask("$JS.API.STREAM.DELETE.probe", b"", lambda reply: "error" not in reply)

    def leader(self, stream: str) -> NatsServer:
        """The running node that leads `stream`; waits while the stream has none."""
        leaders: list[NatsServer] = []

        def known(reply: dict[str, Any]) -> bool:
            name = reply.get("cluster", {}).get("leader")
            leaders[:] = [node for node in self.nodes if node.name == name and node.running]
            return bool(leaders)

        self._ask(f"$JS.API.STREAM.INFO.{stream}", b"", known)
        return leaders[0]

    def close(self) -> None:
        """Stop every node for good."""
        for node in self.nodes:
            node.close()

    def _start(self) -> None:
        for node in self.nodes:
            if not node.running:
                node.start()

    def _assign(self) -> None:
        routes = free_ports(_SIZE)
        for node in self.nodes:
            node.kill()
            node.reassign(routes)

    def _ask(self, subject: str, data: bytes, accepted: Callable[[dict[str, Any]], bool]) -> None:
        deadline = monotonic() + 20
        reply: dict[str, Any] = {}
        while monotonic() < deadline:
            for node in self.nodes:
                with contextlib.suppress(OSError):
                    reply = json.loads(nats_wire.request(node.port, subject, data))
                    if accepted(reply):
                        return
            sleep(0.02)
        raise ServerFailed(f"{subject} was not answered well within 20 s; last: {reply}")


class _Node(NatsServer):
    def __init__(self, folder: Path, number: int, routes: list[int]) -> None:
        super().__init__(folder)
        self.name = f"node{number}"
        self._number = number
        self._routes = routes

    def reassign(self, routes: list[int]) -> None:
        self._routes = routes
        self._assign()

    def _settings(self) -> dict[str, Any]:
        cluster = {
            "name": "tests",
            "host": LOOPBACK,
            "port": self._routes[self._number],
            "routes": [f"nats://{LOOPBACK}:{port}" for port in self._routes],
            "no_advertise": True,
        }
        return {**super()._settings(), "server_name": self.name, "cluster": cluster}
