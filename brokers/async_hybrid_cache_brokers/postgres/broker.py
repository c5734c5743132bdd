"""From a `postgresql://` or `postgres://` URL to a checkpoint store."""

from __future__ import annotations

from typing import NoReturn

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.errors import ConfigurationError

from .checkpoints import PostgresCheckpointStore

__all__ = ["BROKER"]


class PostgresBroker:
    """The broker of the schemes `postgresql` and `postgres`."""

    def bus(self, url: str, *, namespace: str, stream: StreamOptions | None) -> NoReturn:
        """Raises `ConfigurationError`: PostgreSQL keeps checkpoints here, and is no log."""
        raise ConfigurationError(
            "PostgreSQL keeps checkpoints and is no bus; use it as checkpoints=..., and e.g. redis:// as the bus"
        )

    def distributed_cache(self, url: str, *, namespace: str) -> None:
        """None: PostgreSQL is no L2 here."""

    def checkpoints(self, url: str, *, namespace: str) -> PostgresCheckpointStore:
        """The checkpoints in the table `<namespace>_checkpoints`."""
        return PostgresCheckpointStore(url, table=f"{namespace}_checkpoints")


BROKER = PostgresBroker()
"""What the entry point names."""
