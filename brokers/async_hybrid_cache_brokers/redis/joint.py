"""A record, and what its events do in L2, in one script."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError

from async_hybrid_cache.errors import LogRefused, LogUnavailable
from async_hybrid_cache.joint import L2Change, Leased
from async_hybrid_cache.positions import Position
from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared

from .client import Script
from .layout import clears_key, entry_key, millis, scope_field, utf8
from .log import RedisStreamsLog

__all__ = ["Joint"]

# what the server refuses for a while: full, a replica, without enough replicas, or busy
_PASSING = (OutOfMemoryError, ReadOnlyError, MasterDownError)
_PASSING_TEXTS = ("MISCONF", "NOREPLICAS", "BUSY")

_APPEND = Script("generation", "wake", "stream", "append", "joint")


class Joint:
    """The L2 under `prefix`, on the server of `log`."""

    def __init__(self, log: RedisStreamsLog, prefix: str) -> None:
        self._log = log
        self._prefix = prefix

    async def append(self, record: bytes, id: str, changes: Sequence[L2Change]) -> Position:
        """Append `record` and make `changes`; see `JointAppend`."""
        outcome = _Outcome()
        for change in changes:
            outcome.add(change)
        keys = [clears_key(self._prefix)]
        args: list[bytes | int] = [len(outcome.cleared), *map(scope_field, outcome.cleared)]
        deleted = [entry_key(self._prefix, *pair) for pair, lease in outcome.entries.items() if lease is None]
        keys += deleted
        args.append(len(deleted))
        for pair, lease in outcome.entries.items():
            if lease is not None:
                keys.append(entry_key(self._prefix, *pair))
                args += (scope_field(lease.scope), utf8(lease.token), millis(lease.seconds))
        try:
            return await self._log.append_with(_APPEND, record, id, keys, args)
        except LogUnavailable as error:
            cause = error.__cause__
            if (
                isinstance(cause, ResponseError)
                and not isinstance(cause, _PASSING)
                and not str(cause).startswith(_PASSING_TEXTS)
            ):
                raise LogRefused(f"the server refuses to change L2 and {self._log!r} in one script: {cause}") from cause
            raise


class _Outcome:
    """What several changes, one after the other, come to: what is cleared, and then each entry deleted or leased."""

    def __init__(self) -> None:
        self.cleared: dict[str | None, None] = {}
        self.entries: dict[tuple[str, str], Leased | None] = {}

    def add(self, change: L2Change) -> None:
        """One more change, after all others."""
        match change:
            case KeysRemoved():
                self.entries.update({(change.scope, key): None for key in change.keys})
            case Leased():
                self.entries.update({(change.scope, key): change for key in change.keys})
            case ScopeCleared():
                self.cleared[change.scope] = None
                self.entries = {pair: lease for pair, lease in self.entries.items() if pair[0] != change.scope}
            case CacheCleared():
                self.cleared = {None: None}
                self.entries.clear()
