"""What a handler is given."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias

import msgspec

from async_hybrid_cache_codecs.events import CacheCleared, KeysExpired, KeysRemoved, ScopeCleared, TagsInvalidated

from ..checkpoint import TransactionalCheckpointStore
from ..errors import CheckpointConflict, ConfigurationError
from ..offers import offers
from ..ownership import Document
from ..ownership.document import ATTEMPTS
from ..positions import Position

__all__ = ["Commit", "Delivery", "Gap", "Handler", "SubscriptionEvent"]


class Gap(msgspec.Struct, frozen=True):
    """Events were lost, or cannot be read: anything may have changed. `reason` is for people.

    The log was trimmed past the subscription or replaced, an origin's sequence has a hole, a record cannot be
    decoded, or an event is of a newer release.
    """

    reason: str


SubscriptionEvent: TypeAlias = KeysRemoved | KeysExpired | TagsInvalidated | ScopeCleared | CacheCleared | Gap


class Commit:
    """Writes the position after one event into the handler's transaction."""

    def __init__(self, document: Document, encode: Callable[[], bytes]) -> None:
        self._document = document
        self._encode = encode
        self._attempts: deque[bytes] = deque(maxlen=ATTEMPTS)
        self.version: int | None = None
        """The version written, where the transaction was committed."""

    def write(self, connection: Any) -> Awaitable[None]:
        """See `Delivery.commit`."""
        store = self._document.use.store
        if not offers(store, TransactionalCheckpointStore):
            raise ConfigurationError(
                f"{type(store).__name__} cannot write in a transaction of the handler's; "
                "give the subscription checkpoints=SqliteCheckpointStore(...) or PostgresCheckpointStore(...)"
            )
        data = self._document.seal(self._encode())
        self._attempts.append(data)
        written = store.write(connection, self._document.name, data, self._document.version)
        if isinstance(written, int):
            self.version = written
            return _Done()
        return self._finish(written)

    async def landed(self) -> bool:
        """Whether one of the attempts was committed; `CheckpointConflict` where somebody else has written."""
        if not self._attempts:
            return False
        kept = await self._document.use.load(self._document.name)
        if kept is not None and kept.data in self._attempts:
            self._document.saved(kept.version)
            return True
        if (kept.version if kept else 0) != self._document.version and not await self._document.landed():
            raise CheckpointConflict(f"{self._document.name!r} was written by somebody else")
        return False

    async def _finish(self, writing: Awaitable[int]) -> None:
        self.version = await writing


class _Done:
    """What was awaited already."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class Delivery(msgspec.Struct, frozen=True, eq=False):
    """One event, given to a handler until it returns.

    - `id`: stable over redeliveries: `origin:sequence`, or `gap:position`.
    - `position`: where it is in the log.
    - `at`: when it was published, in unix nanoseconds by its publisher's clock; for people, never for order.
    - `event`: what happened.
    """

    id: str
    position: Position
    at: int
    event: SubscriptionEvent
    _commit: Commit

    def commit(self, connection: Any) -> Awaitable[None]:
        """Write the position after this event in the transaction that is open on `connection`, for exactly once.

        For a subscription on a `SqliteCheckpointStore` (a `sqlite3.Connection` to the same file; no need to await) or
        a `PostgresCheckpointStore` (an asyncpg connection to the same database, awaited). Whatever else the
        transaction does happens exactly once: after a crash at any moment the event is delivered again if the
        transaction was not committed, and is not if it was. Call it once, then commit, then return.

        Raises `CheckpointConflict` where another instance owns the subscription by now; let it out, so that the
        transaction is rolled back.
        """
        return self._commit.write(connection)

    def __repr__(self) -> str:
        return f"Delivery(id={self.id!r}, position={str(self.position)!r}, event={self.event!r})"


Handler: TypeAlias = Callable[[Delivery], Awaitable[None]]
