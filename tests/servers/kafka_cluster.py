"""Three Kafka brokers that replicate their topics, on this machine."""

from __future__ import annotations

from pathlib import Path

from .kafka import KafkaServer
from .ports import LOOPBACK

__all__ = ["KafkaCluster"]

_SIZE = 3


class KafkaCluster:
    """Topics of up to three replicas. Each of `nodes` can be killed, frozen and restarted by itself.

    The first one is the controller as well: without it no other leader is found.
    """

    def __init__(self, folder: Path) -> None:
        self.controller = _Node(folder / "node1", 1, None)
        others = [_Node(folder / f"node{id}", id, self.controller) for id in range(2, _SIZE + 1)]
        self.nodes = [self.controller, *others]

    @property
    def url(self) -> str:
        """One URL that names all the nodes."""
        return "kafka://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def open(self) -> None:
        """Start every node."""
        for node in self.nodes:
            node.open()

    def node(self, id: int) -> KafkaServer:
        """The node that Kafka knows by this id."""
        return self.nodes[id - 1]

    def close(self) -> None:
        """Stop every node for good, the controller last."""
        for node in reversed(self.nodes):
            node.close()


class _Node(KafkaServer):
    def __init__(self, folder: Path, id: int, controller: _Node | None) -> None:
        self._id = id
        self._controller = controller
        super().__init__(folder, proxies=0)

    def _addresses(self) -> dict[str, str]:
        addresses = {**super()._addresses(), "node.id": str(self._id)}
        if self._controller is not None:
            addresses["process.roles"] = "broker"
            addresses["controller.quorum.voters"] = self._controller._addresses()["controller.quorum.voters"]
            addresses["listeners"] = addresses["listeners"].rpartition(",CONTROLLER://")[0]
        return addresses
