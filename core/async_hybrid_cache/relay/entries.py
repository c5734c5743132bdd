"""What a transaction writes into an outbox: one event, as it will stand in a frame."""

from __future__ import annotations

from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared, TagsInvalidated
from async_hybrid_cache_codecs.frames import encode_event

from ..cached import checked_key

__all__ = ["cleared", "removed", "tags_invalidated"]


def removed(scope: str, *keys: str) -> bytes:
    """These entries are gone."""
    return encode_event(KeysRemoved(checked_key(scope), tuple(checked_key(key) for key in keys)))


def cleared(scope: str | None) -> bytes:
    """Every entry of `scope`, or of all scopes, is gone."""
    return encode_event(CacheCleared() if scope is None else ScopeCleared(checked_key(scope)))


def tags_invalidated(*tags: str) -> bytes:
    """Every entry with one of these tags is gone."""
    return encode_event(TagsInvalidated(tuple(checked_key(tag) for tag in tags)))
