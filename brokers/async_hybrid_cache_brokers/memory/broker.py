"""`memory://name` to a bus."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from async_hybrid_cache.bus import InvalidationBus, StreamOptions
from async_hybrid_cache.distributed import DistributedCache
from async_hybrid_cache.errors import ConfigurationError

from .bus import MemoryInvalidationBus

__all__ = ["BROKER"]


class _MemoryBroker:
    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> InvalidationBus:
        """The bus called `name` of `memory://name`, or `default`."""
        name = _name(url)
        # the namespace that everybody gets is the one a bus built in code is in
        plain = namespace in ("", "ahc")
        return MemoryInvalidationBus(name if plain else f"{namespace}/{name}", stream=stream)

    def distributed_cache(self, url: str, *, namespace: str) -> DistributedCache | None:
        """None: what one process holds is in its L1 already."""
        _name(url)
        return None

    def checkpoints(self, url: str, *, namespace: str) -> None:
        """None: nothing here survives a restart."""
        _name(url)


def _name(url: str) -> str:
    parts = urlsplit(url)
    if parts.query or parts.fragment or parts.path not in ("", "/") or "@" in parts.netloc:
        raise ConfigurationError("a memory URL is 'memory://' or 'memory://name', without anything after it")
    return unquote(parts.netloc) or "default"


BROKER = _MemoryBroker()
"""What the entry point names."""
