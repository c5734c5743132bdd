"""A server that somebody else runs, e.g. by compose/."""

from __future__ import annotations

from dataclasses import dataclass

from .proxy import Proxy

__all__ = ["ExternalServer"]


@dataclass(frozen=True)
class ExternalServer:
    """The server behind `url`."""

    url: str

    def proxy(self) -> Proxy:
        """A proxy in front of it, for one client. Not for Kafka, whose clients would go round it."""
        if self.url.startswith("kafka"):
            raise RuntimeError("a Kafka broker has to advertise the proxy's address: use own_kafka")
        return Proxy(self.url)
