"""Events written in transactions of a real PostgreSQL: what is committed is relayed, and nothing else."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from async_hybrid_cache import ConfigurationError, OutboxTableError, PostgresOutbox
from async_hybrid_cache.offers import offers
from async_hybrid_cache.relay import Kind, OutboxTable
from async_hybrid_cache.relay.entries import removed
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared, TagsInvalidated
from async_hybrid_cache_codecs.frames import open_frame
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.server import LocalServer, Server
from tests.unit.brokers.outbox_support import connected, made, said, to
from tests.unit.core.recorder import Instance
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.shared_memory import SharedMemory


def gone(key: str) -> KeysRemoved:
    return KeysRemoved("users", (key,))


async def undone(connection: Any, outbox: PostgresOutbox, key: str) -> None:
    """A transaction, or a savepoint of the one that is open, that is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    await outbox.remove(connection, key, scope="users")
    await transaction.rollback()


async def keeps(connection: Any, outbox: PostgresOutbox, rows: int) -> None:
    """Wait until the table holds so many rows."""

    async def so_many() -> bool:
        return await left(connection, outbox) == rows

    await eventually(so_many)


async def left(connection: Any, outbox: PostgresOutbox) -> int:
    count: int = await connection.fetchval(f'SELECT count(*) FROM "{outbox._name}"')
    return count


def test_what_is_committed_is_heard_and_then_deleted(postgres: Server) -> None:
    async def scenario() -> None:
        outbox = await made(postgres.url)
        async with (
            connected(postgres.url) as connection,
            Instance(ScriptedLog("committed")) as instance,
            to(ScriptedLog("committed"), outbox) as relay,
        ):
            await eventually(lambda: relay.relaying)
            async with connection.transaction():
                await outbox.remove(connection, "a", "b", scope="users")
                await outbox.clear(connection, scope="prices")
                await outbox.invalidate_tags(connection, "red")
                await outbox.clear(connection)
            expected = (
                KeysRemoved("users", ("a", "b")),
                ScopeCleared("prices"),
                TagsInvalidated(("red",)),
                CacheCleared(),
            )
            await instance.hears(*expected)
            await eventually(lambda: relay.relayed == 4)
            assert await left(connection, outbox) == 0
            assert (instance.resets, relay.trouble) == ([], None)

    asyncio.run(scenario())


def test_what_is_rolled_back_is_not_heard(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log = await made(postgres.url), ScriptedLog()
        async with connected(postgres.url) as connection, to(log, outbox):
            await undone(connection, outbox, "undone")
            async with connection.transaction():
                await outbox.remove(connection, "done", scope="users")
                await undone(connection, outbox, "savepoint")
            await eventually(lambda: said(log) == [gone("done")])
            await keeps(connection, outbox, 0)

    asyncio.run(scenario())


def test_a_transaction_that_commits_late_is_not_skipped(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log = await made(postgres.url), ScriptedLog()
        async with connected(postgres.url) as slow, connected(postgres.url) as quick, to(log, outbox):
            late = slow.transaction()
            await late.start()
            await outbox.remove(slow, "first", scope="users")
            for key in ("second", "third"):
                async with quick.transaction():
                    await outbox.remove(quick, key, scope="users")
            await eventually(lambda: said(log) == [gone("second"), gone("third")])
            await late.commit()
            await eventually(lambda: said(log) == [gone("second"), gone("third"), gone("first")])

    asyncio.run(scenario())


def test_it_is_told_where_no_transaction_is_open(postgres: Server) -> None:
    async def scenario() -> None:
        outbox = await made(postgres.url)
        async with connected(postgres.url) as connection:
            with pytest.raises(OutboxTableError, match="no transaction is open"):
                await outbox.remove(connection, "a")
            with pytest.raises(ConfigurationError, match="an asyncpg connection is needed, not str"):
                await outbox.remove("connection", "a")
            missing = PostgresOutbox(postgres.url, table="missing")
            with pytest.raises(OutboxTableError, match='relation "missing" does not exist') as told:
                async with connection.transaction():
                    await missing.remove(connection, "a")
            assert told.value.__cause__ is not None

    asyncio.run(scenario())


def test_writers_and_relays_need_the_rights_that_the_page_names(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log = await made(postgres.url), ScriptedLog()
        writer, relay = f"writer_{uuid.uuid4().hex}", f"relay_{uuid.uuid4().hex}"
        async with connected(postgres.url) as connection:
            await connection.execute(f"CREATE ROLE {writer} LOGIN")
            await connection.execute(f"CREATE ROLE {relay} LOGIN")
            await connection.execute(f'GRANT INSERT ON "{outbox._name}" TO {writer}')
            await connection.execute(f'GRANT SELECT, INSERT, DELETE ON "{outbox._name}" TO {relay}')
        relaying = PostgresOutbox(as_user(postgres.url, relay), table=outbox._name)
        async with connected(as_user(postgres.url, writer)) as connection, to(log, relaying):
            async with connection.transaction():
                await outbox.remove(connection, "a", scope="users")
            await eventually(lambda: said(log) == [gone("a")])

    asyncio.run(scenario())


def as_user(url: str, name: str) -> str:
    return url.replace("user=postgres", f"user={name}")


def test_creating_the_table_twice_at_once_does_no_harm(postgres: Server) -> None:
    async def scenario() -> None:
        outbox = await made(postgres.url)
        fresh = PostgresOutbox(postgres.url, table=f"{outbox._name[:40]}_again")
        await asyncio.gather(*(fresh.create_table() for _ in range(5)))
        async with connected(postgres.url) as connection:
            await connection.execute(f"CREATE SCHEMA {outbox._name}")
            qualified = PostgresOutbox(postgres.url, table=f"{outbox._name}.events")
            await qualified.create_table()
            log = ScriptedLog()
            async with to(log, qualified), connection.transaction():
                await qualified.remove(connection, "a", scope="users")
            async with to(log, qualified):
                await eventually(lambda: said(log) == [gone("a")])

    asyncio.run(scenario())


def test_one_relays_and_another_takes_over(postgres: Server) -> None:
    async def scenario() -> None:
        outbox = await made(postgres.url)
        other = PostgresOutbox(postgres.url, table=outbox._name)
        log = ScriptedLog("over")
        first = to(log, outbox)
        await first.start()
        await eventually(lambda: first.relaying)
        second = to(ScriptedLog("over"), other)
        async with second, connected(postgres.url) as connection:
            async with connection.transaction():
                await outbox.remove(connection, "a", scope="users")
            await eventually(lambda: first.relayed == 1)
            assert (second.relaying, second.relayed) == (False, 0)
            await first.stop()
            await eventually(lambda: second.relaying)
            async with connection.transaction():
                await outbox.remove(connection, "b", scope="users")
            await eventually(lambda: second.relayed == 1)
            assert said(log) == [gone("a"), gone("b")]

    asyncio.run(scenario())


def test_a_lost_acknowledgement_is_answered_by_the_same_bytes_and_id(postgres: Server) -> None:
    async def scenario() -> None:
        outbox = await made(postgres.url)
        log = ScriptedLog("acknowledgement", recognise=False)
        log.lose_acknowledgements = 1
        async with connected(postgres.url) as connection, Instance(ScriptedLog("acknowledgement")) as instance:
            async with connection.transaction():
                await outbox.remove(connection, "a", scope="users")
            async with to(log, outbox, retry_max_seconds=0.01) as dying:
                await eventually(lambda: dying.trouble)
            async with to(log, outbox) as relay, connection.transaction():
                await outbox.remove(connection, "b", scope="users")
                await eventually(lambda: relay.relaying)
            async with to(log, outbox):
                await instance.hears(gone("a"), gone("b"))
            repeats = [attempt for attempt in log.attempts if attempt == log.attempts[0]]
            assert len(repeats) >= 2
            assert len({id for id, _ in log.attempts}) == len(set(log.attempts)) == 2
            assert instance.stream.reader.duplicates >= 1
            assert instance.resets == []

    asyncio.run(scenario())


class Uncertain:
    """An outbox whose next `replace` is committed, and its answer lost."""

    def __init__(self, outbox: PostgresOutbox, kind: Kind) -> None:
        self._outbox = outbox
        self._kind: Kind | None = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outbox, name)

    async def replace(self, rows: Any, kind: Kind, data: Any) -> Any:
        written = await self._outbox.replace(rows, kind, data)
        if kind is self._kind:
            self._kind = None
            raise OutboxTableError("the connection broke before the answer")
        return written


@pytest.mark.parametrize("kind", [Kind.FRAME, Kind.LATE], ids=["sealing", "forgetting"])
def test_a_commit_whose_answer_is_lost_loses_nothing(postgres: Server, kind: Kind) -> None:
    async def scenario() -> None:
        outbox: Any = Uncertain(await made(postgres.url), kind)
        assert offers(outbox, OutboxTable)
        async with (
            connected(postgres.url) as connection,
            Instance(ScriptedLog(kind.name)) as instance,
            to(ScriptedLog(kind.name), outbox),
        ):
            for key in "abc":
                async with connection.transaction():
                    await outbox.remove(connection, key, scope="users")
                await eventually(lambda key=key: instance.changes()[-1:] == [gone(key)])  # type: ignore[misc]
            await instance.hears(gone("a"), gone("b"), gone("c"))
            assert instance.resets == []

    asyncio.run(scenario())


def test_l2_is_asked_before_the_instances_are_told(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log, l2 = await made(postgres.url), ScriptedLog(), SharedMemory()
        order: list[str] = []

        async def deleting() -> None:
            order.append("delete")

        l2.before["delete"] = deleting
        log.on_append = lambda record, id: order.append("append")
        async with connected(postgres.url) as connection, to(log, outbox, l2):
            async with connection.transaction():
                await outbox.remove(connection, "a", scope="users")
            await eventually(lambda: order == ["delete", "append"])

    asyncio.run(scenario())


def test_while_l2_is_away_they_are_told_at_once_and_again_when_it_is_back(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log, l2 = await made(postgres.url), ScriptedLog(), SharedMemory()
        l2.failing = {"delete", "clear"}
        async with connected(postgres.url) as connection, to(log, outbox, l2, poll_seconds=0.02) as relay:
            async with connection.transaction():
                await outbox.remove(connection, "a", scope="users")
                await outbox.invalidate_tags(connection, "red")
                await outbox.clear(connection, scope="users")
            told = [gone("a"), TagsInvalidated(("red",)), ScopeCleared("users")]
            await eventually(lambda: said(log) == told)
            await eventually(lambda: relay.trouble and "failed" in relay.trouble)
            # another relay does what this one has left
            await keeps(connection, outbox, 2)
            await relay.stop()
            l2.failing = set()
            async with to(log, outbox, l2, poll_seconds=0.02) as other:
                await eventually(lambda: said(log) == [*told, gone("a"), ScopeCleared("users")])
                await eventually(lambda: other.relayed == 2)
                assert await left(connection, outbox) == 0
                assert other.trouble is None

    asyncio.run(scenario())


def test_what_cannot_be_read_clears_everything(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log = await made(postgres.url), ScriptedLog()
        async with connected(postgres.url) as connection:
            statement = f'INSERT INTO "{outbox._name}" (kind, data) VALUES ($1, $2)'
            await connection.execute(statement, int(Kind.EVENT), b"garbage")
            await connection.execute(statement, int(Kind.EVENT), b"\x81\xa1t\xa5other")  # of a newer release
            await connection.execute(statement, int(Kind.EVENT), removed("users", "a"))
            await connection.execute(statement, int(Kind.FRAME), b"garbage")
            async with to(log, outbox):
                await eventually(lambda: said(log) == [CacheCleared(), CacheCleared(), gone("a"), CacheCleared()])

    asyncio.run(scenario())


def test_many_and_large_events_leave_in_frames_that_the_log_takes(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log = await made(postgres.url), ScriptedLog()
        async with connected(postgres.url) as connection, to(log, outbox, frame_max_bytes=2_000, frame_max_events=50):
            async with connection.transaction():
                await outbox.remove(connection, *(f"{number:0100}" for number in range(100)), scope="large")
                for number in range(500):
                    await outbox.remove(connection, str(number), scope="users")
            await eventually(lambda: len(said(log)) == 501)
        assert said(log)[0] == ScopeCleared("large")
        assert said(log)[1:] == [gone(str(number)) for number in range(500)]
        frames = [open_frame(record.data) for record in log.records()]
        assert max(len(record.data) for record in log.records()) < 2_200
        assert max(len(frame.events) for frame in frames) <= 50
        # one origin without a hole
        assert [frame.first for frame in frames[1:]] == [frame.last + 1 for frame in frames[:-1]]
        assert len({frame.origin for frame in frames}) == 1

    asyncio.run(scenario())


def test_it_survives_the_loss_of_its_server(own_postgres: LocalServer) -> None:
    async def scenario() -> None:
        outbox, log = await made(own_postgres.url), ScriptedLog()
        async with to(log, outbox) as relay:
            await eventually(lambda: relay.relaying)
            await asyncio.to_thread(own_postgres.kill)
            # told by the connection itself, since it polls once a minute
            await eventually(lambda: relay.trouble)
            assert not relay.relaying
            await asyncio.to_thread(own_postgres.start)
            async with connected(own_postgres.url) as connection, connection.transaction():
                await outbox.remove(connection, "a", scope="users")
            await eventually(lambda: said(log) == [gone("a")])
            await eventually(lambda: relay.trouble is None)

    asyncio.run(scenario())


def test_it_is_used_in_one_event_loop_after_another(postgres: Server) -> None:
    outbox, log = asyncio.run(made(postgres.url)), ScriptedLog()
    relay = to(log, outbox)

    async def left_running(key: str) -> None:
        """As in a test, or in a child after a fork: the loop ends under it."""
        await relay.start()
        async with connected(postgres.url) as connection, connection.transaction():
            await outbox.remove(connection, key, scope="users")
        await eventually(lambda: gone(key) in said(log))

    asyncio.run(left_running("a"))
    asyncio.run(left_running("b"))
    assert said(log) == [gone("a"), gone("b")]


def test_it_waits_for_a_log_that_is_away(postgres: Server) -> None:
    async def scenario() -> None:
        outbox, log = await made(postgres.url), ScriptedLog()
        log.away = True
        async with connected(postgres.url) as connection, to(log, outbox) as relay:
            async with connection.transaction():
                await outbox.remove(connection, "a", scope="users")
            await eventually(lambda: relay.trouble == "the log is away")
            log.away = False
            await eventually(lambda: said(log) == [gone("a")])

    asyncio.run(scenario())


def test_no_text_shows_a_credential() -> None:
    async def scenario() -> None:
        url = f"postgresql://user:secret@{LOOPBACK}:{free_port()}/app"
        outbox = PostgresOutbox(url)
        with pytest.raises(OutboxTableError) as told:
            await outbox.create_table()
        async with to(ScriptedLog(), outbox) as relay:
            await eventually(lambda: relay.trouble)
            texts = f"{relay!r} {relay.trouble} {outbox!r} {told.value} {told.value!r}"
            assert "secret" not in texts
            assert "ConnectionRefusedError" in texts
        with pytest.raises(OutboxTableError, match="is not open"):
            await outbox.claim()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("url", "table", "told"),
    [
        ("redis://localhost", "events", "begins with postgresql://"),
        (None, "events", "begins with postgresql://"),
        ("postgresql://localhost/app", "a b", "table must be a name"),
    ],
)
def test_what_cannot_be_an_outbox_is_refused(url: Any, table: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        PostgresOutbox(url, table=table)


def test_what_cannot_be_relayed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="outbox must be an OutboxTable object, not object"):
        to(ScriptedLog(), object())
    with pytest.raises(ConfigurationError, match="poll_seconds"):
        to(ScriptedLog(), PostgresOutbox("postgresql://localhost/app"), poll_seconds=0)
