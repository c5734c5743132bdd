"""Events written through SQLAlchemy sessions and connections, async and not, and relayed from PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from async_hybrid_cache import ConfigurationError, PostgresOutbox, SqlAlchemyOutbox
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared, Event, KeysRemoved, ScopeCleared, TagsInvalidated
from tests.servers.server import Server
from tests.unit.brokers.outbox_support import connected, made, said, to
from tests.unit.core.scripted_log import ScriptedLog

EXPECTED = [KeysRemoved("users", ("a", "b")), TagsInvalidated(("red",)), ScopeCleared("users"), CacheCleared()]


def statements(outbox: SqlAlchemyOutbox) -> list[Any]:
    return [
        outbox.remove("a", "b", scope="users"),
        outbox.invalidate_tags("red"),
        outbox.clear(scope="users"),
        outbox.clear(),
    ]


def driven(url: str, driver: str) -> str:
    return url.replace("postgresql://", f"postgresql+{driver}://")


async def in_async_sessions(url: str, outbox: SqlAlchemyOutbox) -> None:
    engine = create_async_engine(driven(url, "asyncpg"))
    async with AsyncSession(engine) as session, session.begin():
        for statement in statements(outbox):
            await session.execute(statement)
    async with AsyncSession(engine) as session:
        await session.execute(outbox.remove("undone"))
        await session.rollback()
    await engine.dispose()


def in_sessions(url: str, outbox: SqlAlchemyOutbox) -> None:
    engine = sqlalchemy.create_engine(driven(url, "psycopg"))
    with Session(engine) as session:
        for statement in statements(outbox):
            session.execute(statement)
        session.commit()
    with Session(engine) as session:
        session.execute(outbox.remove("undone"))
    engine.dispose()


def in_connections(url: str, outbox: SqlAlchemyOutbox) -> None:
    engine = sqlalchemy.create_engine(driven(url, "psycopg"))
    with engine.begin() as connection:
        for statement in statements(outbox):
            connection.execute(statement)
    engine.dispose()


@pytest.mark.parametrize("write", [in_async_sessions, in_sessions, in_connections])
def test_what_is_committed_is_relayed(write: Callable[[str, SqlAlchemyOutbox], Any], postgres: Server) -> None:
    async def scenario() -> None:
        table = await made(postgres.url)
        outbox = SqlAlchemyOutbox(table=table._name)
        log = ScriptedLog()
        # woken by the commit: it polls once a minute
        async with to(log, table) as relay:
            await eventually(lambda: relay.relaying)
            if write is in_async_sessions:
                await in_async_sessions(postgres.url, outbox)
            else:
                await asyncio.to_thread(write, postgres.url, outbox)
            await eventually(lambda: said(log) == EXPECTED)

    asyncio.run(scenario())


def test_the_table_comes_with_the_applications_own(postgres: Server) -> None:
    class Base(DeclarativeBase):
        pass

    class User(Base):
        __tablename__ = f"users_{uuid.uuid4().hex}"
        id: Mapped[int] = mapped_column(primary_key=True)

    name = f"outbox_{uuid.uuid4().hex}"
    outbox = SqlAlchemyOutbox(Base.metadata, table=name)

    async def scenario() -> list[Event | Any]:
        engine = create_async_engine(driven(postgres.url, "asyncpg"))
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session, session.begin():
            session.add(User(id=1))
            await session.execute(outbox.remove("user:1", scope="users"))
        await engine.dispose()
        log = ScriptedLog()
        async with to(log, PostgresOutbox(postgres.url, table=name)):
            await eventually(lambda: said(log))
        return said(log)

    assert asyncio.run(scenario()) == [KeysRemoved("users", ("user:1",))]


def test_both_declare_the_same_table(postgres: Server) -> None:
    async def columns(url: str, table: str) -> tuple[list[Any], list[Any]]:
        async with connected(url) as connection:
            statement = (
                "SELECT column_name, data_type, is_nullable, column_default, is_identity, identity_generation "
                "FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position"
            )
            indexes = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = $1", table)
            rows = [tuple(row) for row in await connection.fetch(statement, table)]
            return rows, sorted(row["indexdef"].replace(table, "T") for row in indexes)

    async def scenario() -> None:
        ours = await made(postgres.url)
        theirs = SqlAlchemyOutbox(table=f"outbox_{uuid.uuid4().hex}")
        engine = create_async_engine(driven(postgres.url, "asyncpg"))
        async with engine.begin() as connection:
            await connection.run_sync(theirs.table.metadata.create_all)
        await engine.dispose()
        found = await columns(postgres.url, ours._name)
        assert found == await columns(postgres.url, theirs.table.name)
        assert len(found[1]) == 2

    asyncio.run(scenario())


def test_a_qualified_name_is_a_schema() -> None:
    outbox = SqlAlchemyOutbox(table="app.events")
    assert (outbox.table.schema, outbox.table.name) == ("app", "events")
    assert repr(outbox) == "SqlAlchemyOutbox(table='app.events')"
    assert "app.events" in str(outbox.remove("a"))
    with pytest.raises(ConfigurationError, match="a key must be a string"):
        outbox.remove(1)  # type: ignore[arg-type]
