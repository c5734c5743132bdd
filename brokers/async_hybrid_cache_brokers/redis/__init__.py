"""Redis and Valkey: the log is one stream (server 7 or newer), the L2 one key for each entry."""

from .broker import BROKER
from .bus import RedisStreamsInvalidationBus
from .checkpoints import RedisCheckpointStore
from .distributed import RedisDistributedCache
from .log import RedisStreamsLog

__all__ = [
    "BROKER",
    "RedisCheckpointStore",
    "RedisDistributedCache",
    "RedisStreamsInvalidationBus",
    "RedisStreamsLog",
]
