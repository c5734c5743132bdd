"""A hybrid cache for asyncio services on many processes, kept true by a replayable stream of invalidations.

Brokers are handed out lazily, so that importing this needs msgspec alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from async_hybrid_cache_codecs import (
    JsonSerializer,
    MsgpackSerializer,
    PickleSerializer,
    PydanticSerializer,
    Serializer,
)
from async_hybrid_cache_codecs.events import CacheCleared, KeysExpired, KeysRemoved, ScopeCleared, TagsInvalidated

from .bus import InvalidationBus, StreamOptions
from .cache import AsyncHybridCache
from .cached import CachedFunction
from .checkpoint import Checkpoint, CheckpointStore, Kept, TransactionalCheckpointStore
from .clock import Clock, SystemClock
from .distributed import DistributedCache, Hit, Miss
from .errors import (
    BarrierTimeout,
    CacheClosed,
    CacheError,
    CheckpointConflict,
    CheckpointError,
    ConfigurationError,
    DecodeError,
    DistributedCacheError,
    EncodeError,
    LoaderTimeout,
    LogRefused,
    LogUnavailable,
    OutboxError,
    OutboxTableError,
    PositionLost,
    StaleError,
)
from .filecheckpoint import FileCheckpointStore
from .fleet import FleetMember
from .log import EventLog
from .options import CacheOptions, is_outage
from .plain import PlainDistributedCache
from .positions import Bounds, Position, Record
from .publisher import InvalidationPublisher, SyncInvalidationPublisher
from .receipt import Receipt
from .registry import Broker
from .relay import OutboxRelay
from .scoped import ScopedCache
from .stats import CacheStats, Health, SubscriptionStats
from .subscription import Delivery, Gap, Subscription, SubscriptionEvent

if TYPE_CHECKING:
    from async_hybrid_cache_brokers.kafka import KafkaInvalidationBus as KafkaInvalidationBus
    from async_hybrid_cache_brokers.memory import MemoryInvalidationBus as MemoryInvalidationBus
    from async_hybrid_cache_brokers.nats import NatsInvalidationBus as NatsInvalidationBus
    from async_hybrid_cache_brokers.nats import NatsKVCheckpointStore as NatsKVCheckpointStore
    from async_hybrid_cache_brokers.nats import NatsKVDistributedCache as NatsKVDistributedCache
    from async_hybrid_cache_brokers.postgres import PostgresCheckpointStore as PostgresCheckpointStore
    from async_hybrid_cache_brokers.postgres import PostgresOutbox as PostgresOutbox
    from async_hybrid_cache_brokers.redis import RedisCheckpointStore as RedisCheckpointStore
    from async_hybrid_cache_brokers.redis import RedisDistributedCache as RedisDistributedCache
    from async_hybrid_cache_brokers.redis import RedisStreamsInvalidationBus as RedisStreamsInvalidationBus
    from async_hybrid_cache_brokers.sqlalchemy import SqlAlchemyOutbox as SqlAlchemyOutbox
    from async_hybrid_cache_brokers.sqlite import SqliteCheckpointStore as SqliteCheckpointStore
    from async_hybrid_cache_brokers.sqlite import SqliteDistributedCache as SqliteDistributedCache
    from async_hybrid_cache_brokers.sqlite import SqliteInvalidationBus as SqliteInvalidationBus

__all__ = [
    "AsyncHybridCache",
    "BarrierTimeout",
    "Bounds",
    "Broker",
    "CacheCleared",
    "CacheClosed",
    "CacheError",
    "CacheOptions",
    "CacheStats",
    "CachedFunction",
    "Checkpoint",
    "CheckpointConflict",
    "CheckpointError",
    "CheckpointStore",
    "Clock",
    "ConfigurationError",
    "DecodeError",
    "Delivery",
    "DistributedCache",
    "DistributedCacheError",
    "EncodeError",
    "EventLog",
    "FileCheckpointStore",
    "FleetMember",
    "Gap",
    "Health",
    "Hit",
    "InvalidationBus",
    "InvalidationPublisher",
    "JsonSerializer",
    "Kept",
    "KeysExpired",
    "KeysRemoved",
    "LoaderTimeout",
    "LogRefused",
    "LogUnavailable",
    "Miss",
    "MsgpackSerializer",
    "OutboxError",
    "OutboxRelay",
    "OutboxTableError",
    "PickleSerializer",
    "PlainDistributedCache",
    "Position",
    "PositionLost",
    "PydanticSerializer",
    "Receipt",
    "Record",
    "ScopeCleared",
    "ScopedCache",
    "Serializer",
    "StaleError",
    "StreamOptions",
    "Subscription",
    "SubscriptionEvent",
    "SubscriptionStats",
    "SyncInvalidationPublisher",
    "SystemClock",
    "TagsInvalidated",
    "TransactionalCheckpointStore",
    "is_outage",
]

_BROKERS = {
    "KafkaInvalidationBus": "kafka",
    "MemoryInvalidationBus": "memory",
    "NatsInvalidationBus": "nats",
    "NatsKVCheckpointStore": "nats",
    "NatsKVDistributedCache": "nats",
    "PostgresCheckpointStore": "postgres",
    "PostgresOutbox": "postgres",
    "RedisCheckpointStore": "redis",
    "RedisDistributedCache": "redis",
    "RedisStreamsInvalidationBus": "redis",
    "SqlAlchemyOutbox": "sqlalchemy",
    "SqliteCheckpointStore": "sqlite",
    "SqliteDistributedCache": "sqlite",
    "SqliteInvalidationBus": "sqlite",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_BROKERS})


def __getattr__(name: str) -> Any:
    folder = _BROKERS.get(name)
    if folder is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"async_hybrid_cache_brokers.{folder}")
    except ImportError as error:
        raise ConfigurationError(
            f"{name} needs a client library that is not installed; run: pip install 'async-hybrid-cache[{folder}]'"
        ) from error
    return getattr(module, name)
