"""PostgreSQL: checkpoints alone, for handlers that commit their position together with their effects."""

from .broker import BROKER
from .checkpoints import PostgresCheckpointStore

__all__ = ["BROKER", "PostgresCheckpointStore"]
