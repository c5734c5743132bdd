"""A log and an L2 in an SQLite file: several processes on one host, and no server at all."""

from .broker import BROKER
from .bus import SqliteInvalidationBus
from .checkpoints import SqliteCheckpointStore
from .distributed import SqliteDistributedCache
from .log import SqliteLog

__all__ = ["BROKER", "SqliteCheckpointStore", "SqliteDistributedCache", "SqliteInvalidationBus", "SqliteLog"]
