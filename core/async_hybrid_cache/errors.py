"""The errors of the cache and the stream. All of them are a `CacheError`."""

from __future__ import annotations

from async_hybrid_cache_codecs.errors import CacheError, DecodeError, EncodeError

__all__ = [
    "BarrierTimeout",
    "CacheClosed",
    "CacheError",
    "CheckpointConflict",
    "CheckpointError",
    "ConfigurationError",
    "DecodeError",
    "DistributedCacheError",
    "EncodeError",
    "LoaderTimeout",
    "LogRefused",
    "LogUnavailable",
    "OutboxError",
    "OutboxTableError",
    "PositionLost",
    "StaleError",
]


class ConfigurationError(CacheError, ValueError):
    """An option, URL or key template that cannot be used; the message names it and the fix."""


class CacheClosed(CacheError):
    """The cache was stopped, or started where it can no longer be used; the message says what to do."""


class LoaderTimeout(CacheError, TimeoutError):
    """A loader took longer than `hard_timeout_seconds`, and there was no stale value to return."""


class StaleError(CacheError):
    """What is kept may be older than `max_staleness_seconds`, and with `on_stale="raise"` nothing stands in."""


class BarrierTimeout(CacheError, TimeoutError):
    """Not every instance has applied a position in time; `missing` names those that have not, or may not have."""

    def __init__(self, message: str, missing: tuple[str, ...]) -> None:
        super().__init__(message)
        self.missing = missing


class DistributedCacheError(CacheError):
    """The server behind L2 failed or could not be reached."""


class LogUnavailable(CacheError):
    """The log could not be reached, or did not answer; an append may or may not have happened."""


class LogRefused(CacheError):
    """The log answered that it will never take this (credentials, permission, size); trying again is no use."""


class OutboxError(CacheError):
    """What waits for the log cannot be kept on disk; the message says where and why."""


class PositionLost(CacheError):
    """The log no longer holds what was asked for: it was trimmed, truncated, deleted, recreated or replaced."""


class CheckpointError(CacheError):
    """A checkpoint store failed, refused, or did not answer; a save may or may not have happened."""


class CheckpointConflict(CheckpointError):
    """Somebody else has saved meanwhile: the store holds another version than the one to be replaced."""


class OutboxTableError(CacheError):
    """The table of a transactional outbox failed, or was written outside of a transaction."""
