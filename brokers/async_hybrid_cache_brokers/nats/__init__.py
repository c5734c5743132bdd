"""NATS JetStream, server 2.12 or newer: the log is one stream, the L2 and the checkpoints are KV buckets."""

from .broker import BROKER
from .bus import NatsInvalidationBus
from .checkpoints import NatsKVCheckpointStore
from .distributed import NatsKVDistributedCache
from .log import NatsLog

__all__ = ["BROKER", "NatsInvalidationBus", "NatsKVCheckpointStore", "NatsKVDistributedCache", "NatsLog"]
