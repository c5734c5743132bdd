"""The writing side of a transactional outbox, as statements for any SQLAlchemy session or connection."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary, MetaData, SmallInteger, Table, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.dml import Insert

from async_hybrid_cache.relay.entries import cleared, removed, tags_invalidated

__all__ = ["SqlAlchemyOutbox"]

_CHANNEL = "ahc_outbox"


class SqlAlchemyOutbox:
    """Statements that write events into `table`; execute them in the transaction that changes the data:

        session.add(user)
        await session.execute(outbox.remove("user:1", scope="users"))
        await session.commit()

    The same without `await` in a `Session` or `Connection`. The events are sent by an `OutboxRelay` on a
    `PostgresOutbox` of the same table. Not with the isolation level AUTOCOMMIT, where there is no
    transaction to be part of.

    - `metadata` (None): where the table is declared, for `create_all` and Alembic; one of its own where None.
    - `table` (`ahc_outbox`): its name, which may be qualified (`schema.table`).
    """

    def __init__(self, metadata: MetaData | None = None, *, table: str = "ahc_outbox") -> None:
        schema, _, name = table.rpartition(".")
        self.table = Table(
            name,
            MetaData() if metadata is None else metadata,
            Column("id", BigInteger, Identity(), primary_key=True),
            Column("kind", SmallInteger, nullable=False, server_default=text("0")),
            Column("data", LargeBinary, nullable=False),
            Index(f"{name[:58]}_kind", "kind", "id"),
            schema=schema or None,
        )

    def __repr__(self) -> str:
        return f"SqlAlchemyOutbox(table={self.table.fullname!r})"

    def remove(self, key: str, *more: str, scope: str = "default") -> Insert:
        """These entries are gone, on every instance and in L2, once the transaction is committed."""
        return self._entry(removed(scope, key, *more))

    def clear(self, *, scope: str | None = None) -> Insert:
        """Every entry of `scope`, or of all scopes, is gone."""
        return self._entry(cleared(scope))

    def invalidate_tags(self, tag: str, *more: str) -> Insert:
        """Every entry with one of these tags is gone."""
        return self._entry(tags_invalidated(tag, *more))

    def _entry(self, event: bytes) -> Insert:
        # inline, or SQLAlchemy would ask for the row's id as well
        return _Entry(self.table).values(data=event).inline()


class _Entry(Insert):
    inherit_cache = True


@compiles(_Entry, "postgresql")
def _and_notify(entry: _Entry, compiler: Any, **options: Any) -> str:
    # asked for here, so that statements can be shown for other databases too
    return f"{compiler.visit_insert(entry, **options)} RETURNING pg_notify('{_CHANNEL}', '')"
