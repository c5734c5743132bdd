"""A primary and a replica that can take its place, on this machine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

from .ports import LOOPBACK
from .process import ServerFailed
from .proxy import Proxy
from .valkey import ValkeyServer

__all__ = ["ValkeyPair"]


class ValkeyPair:
    """Clients use `url`, which follows the promotion, as the address of a managed service does.

    `lose_tail` makes the replica miss what is written from then on; `promote` kills the primary and puts the
    replica in its place; `rejoin` makes the old primary the replica of the new one.
    """

    def __init__(self, folder: Path) -> None:
        self.primary = ValkeyServer(folder / "primary")
        self.replica = ValkeyServer(folder / "replica")
        self._proxies = ExitStack()

    @property
    def url(self) -> str:
        """Where the server is that takes writes."""
        return self._front.url

    def open(self) -> None:
        """Start both; returns once the replica follows."""
        self.primary.open()
        self.replica.open()
        self._front = self._proxies.enter_context(Proxy(self.primary.url))
        self._link = self._proxies.enter_context(Proxy(self.primary.url))
        self._replicate()

    def await_replica(self) -> None:
        """Return once the replica has everything that the primary has now."""
        deadline = monotonic() + 20
        while not self._replicated():
            if monotonic() > deadline:
                raise ServerFailed("the replica did not catch up within 20 s")
            sleep(0.01)

    def lose_tail(self) -> None:
        """What is written after this reaches the primary alone; what was written before reaches both."""
        self.await_replica()
        self._link.stall()

    def promote(self) -> None:
        """Kill the primary; the replica takes writes and has `url` when this returns."""
        self.primary.kill()
        self._link.cut()
        self.replica.command("REPLICAOF NO ONE")
        self._front.target(self.replica.url)

    def rejoin(self) -> None:
        """After `promote`: start the old primary again, and return once it has all that the new one has."""
        self.primary, self.replica = self.replica, self.primary
        self.replica.start()
        self._link.target(self.primary.url)
        self._link.heal()
        self._link.flow()
        self._replicate()

    def proxy(self) -> Proxy:
        """A proxy in front of `url`, for one client."""
        return Proxy(self.url)

    def close(self) -> None:
        """Stop both for good."""
        self._proxies.close()
        self.replica.close()
        self.primary.close()

    def _replicate(self) -> None:
        self.primary.command("CONFIG SET repl-diskless-sync-delay 0")
        self.replica.command(f"REPLICAOF {LOOPBACK} {self._link.port}")
        self.await_replica()

    def _replicated(self) -> bool:
        theirs, ours = _replication(self.replica), _replication(self.primary)
        return theirs.get("master_link_status") == "up" and theirs["slave_repl_offset"] == ours["master_repl_offset"]


def _replication(server: ValkeyServer) -> dict[str, str]:
    lines = server.command("INFO replication").decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
