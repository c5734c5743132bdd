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

from .bus import InvalidationBus, StreamOptions
from .cache import AsyncHybridCache
from .cached import CachedFunction
from .checkpoint import Checkpoint, CheckpointStore
from .clock import Clock, SystemClock
from .distributed import DistributedCache, Hit, Miss
from .errors import (
    CacheClosed,
    CacheError,
    ConfigurationError,
    DecodeError,
    DistributedCacheError,
    EncodeError,
    LoaderTimeout,
    LogRefused,
    LogUnavailable,
    PositionLost,
)
from .filecheckpoint import FileCheckpointStore
from .log import EventLog
from .options import CacheOptions, is_outage
from .positions import Bounds, Position, Record
from .receipt import Receipt
from .registry import Broker
from .scoped import ScopedCache
from .stats import CacheStats, Health

if TYPE_CHECKING:
    from async_hybrid_cache_brokers.memory import MemoryInvalidationBus as MemoryInvalidationBus
    from async_hybrid_cache_brokers.redis import RedisDistributedCache as RedisDistributedCache
    from async_hybrid_cache_brokers.redis import RedisStreamsInvalidationBus as RedisStreamsInvalidationBus
    from async_hybrid_cache_brokers.sqlite import SqliteDistributedCache as SqliteDistributedCache
    from async_hybrid_cache_brokers.sqlite import SqliteInvalidationBus as SqliteInvalidationBus

__all__ = [
    "AsyncHybridCache",
    "Bounds",
    "Broker",
    "CacheClosed",
    "CacheError",
    "CacheOptions",
    "CacheStats",
    "CachedFunction",
    "Checkpoint",
    "CheckpointStore",
    "Clock",
    "ConfigurationError",
    "DecodeError",
    "DistributedCache",
    "DistributedCacheError",
    "EncodeError",
    "EventLog",
    "FileCheckpointStore",
    "Health",
    "Hit",
    "InvalidationBus",
    "JsonSerializer",
    "LoaderTimeout",
    "LogRefused",
    "LogUnavailable",
    "Miss",
    "MsgpackSerializer",
    "PickleSerializer",
    "Position",
    "PositionLost",
    "PydanticSerializer",
    "Receipt",
    "Record",
    "ScopedCache",
    "Serializer",
    "StreamOptions",
    "SystemClock",
    "is_outage",
]

_BROKERS = {
    "MemoryInvalidationBus": "memory",
    "RedisDistributedCache": "redis",
    "RedisStreamsInvalidationBus": "redis",
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
