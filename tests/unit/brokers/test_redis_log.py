"""The log on a Redis stream: dense positions, verified reads, epochs, repeats."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import redis
from redis.asyncio import BlockingConnectionPool, Redis

from async_hybrid_cache.errors import (
    CacheError,
    ConfigurationError,
    LogRefused,
    LogUnavailable,
    PositionLost,
)
from async_hybrid_cache.positions import Bounds, Position
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.redis import RedisStreamsInvalidationBus, RedisStreamsLog
from tests.servers.server import Server

Body = Callable[[RedisStreamsLog, Redis, str], Awaitable[None]]


def on_log(server: Server, body: Body, **options: Any) -> None:
    """Run `body` with an open log, a plain client and the key of the stream."""

    async def main() -> None:
        key = f"test:{uuid.uuid4().hex}"
        async with Redis.from_url(server.url) as client:
            log = RedisStreamsLog(client, stream=key, **options)
            await log.open()
            try:
                await body(log, client, key)
            finally:
                await log.close()
                await client.delete(key)

    asyncio.run(main())


def run(server: Server, **options: Any) -> Callable[[Body], None]:
    return partial(on_log, server, **options)


def test_a_new_log_is_empty_and_its_first_offset_is_one(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        bounds = await log.bounds()
        assert (bounds.first, bounds.last) == (1, 0)
        assert await client.xlen(key) == 0
        seconds, _micros = await client.time()
        assert abs(bounds.epoch / 1e6 - seconds) < 60
        assert await log.append(b"a", "id-1") == Position(bounds.epoch, 1)
        assert await log.append(b"b", "id-2") == Position(bounds.epoch, 2)
        assert await log.bounds() == Bounds(bounds.epoch, 1, 2)


def test_records_come_back_as_they_went_in(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        data = bytes(range(256)) * 400
        first = await log.append(data, "a:1:1")
        await log.append(b"", "ä:2:2")
        records = await log.read(first, 10, 1)
        assert [(r.position.offset, r.id, r.data) for r in records] == [(1, "a:1:1", data), (2, "ä:2:2", b"")]
        assert [r.id for r in await log.read(first, 1, 0)] == ["a:1:1"]
        assert [r.id for r in await log.read(Position(first.epoch, 2), 10, 0)] == ["ä:2:2"]


def test_opening_again_keeps_the_log_and_two_objects_share_it(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        position = await log.append(b"a", "1")
        other = RedisStreamsLog(client, stream=key)
        await asyncio.gather(log.open(), log.open(), other.open())
        assert await other.bounds() == Bounds(position.epoch, 1, 1)
        assert await other.append(b"b", "2") == Position(position.epoch, 2)
        await other.close()


def test_many_open_at_once_and_agree_on_the_epoch(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        await client.delete(key)
        logs = [RedisStreamsLog(client, stream=key) for _ in range(8)]
        await asyncio.gather(*(each.open() for each in logs))
        positions = await asyncio.gather(*(each.append(b"", str(i)) for i, each in enumerate(logs)))
        assert sorted(p.offset for p in positions) == list(range(1, 9))
        assert len({p.epoch for p in positions}) == 1
        await asyncio.gather(*(each.close() for each in logs))


def test_a_waiting_read_ends_by_itself_and_wakes_at_once(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        loop = asyncio.get_running_loop()
        start = Position((await log.bounds()).epoch, 1)
        began = loop.time()
        assert await log.read(start, 10, 0.2) == []
        assert 0.15 < loop.time() - began < 1.5
        assert await log.read(start, 10, 0) == []
        reading = asyncio.ensure_future(log.read(start, 10, 10))
        await eventually(lambda: waiting(client), message="the read never blocked")
        await log.append(b"x", "1")  # the writer is not behind the reader
        assert [r.data for r in await reading] == [b"x"]


async def waiting(client: Redis) -> bool:
    return int((await client.info("clients"))["blocked_clients"]) > 0


def test_a_start_that_is_not_there_is_lost(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        head = await log.append(b"a", "1")
        for start in (
            Position(head.epoch, 3),
            Position(head.epoch, 0),
            Position(head.epoch - 1, 1),
            Position(head.epoch + 1, 1),
        ):
            with pytest.raises(PositionLost):
                await log.read(start, 10, 0.05)
        assert await log.read(Position(head.epoch, 2), 10, 0.05) == []


def test_a_trimmed_start_is_lost_and_never_skipped(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        for i in range(5):
            head = await log.append(b"", str(i))
        await client.xtrim(key, maxlen=2, approximate=False)
        assert await log.bounds() == Bounds(head.epoch, 4, 5)
        with pytest.raises(PositionLost):
            await log.read(Position(head.epoch, 3), 10, 0)
        assert len(await log.read(Position(head.epoch, 4), 10, 0)) == 2
        await client.xtrim(key, maxlen=0, approximate=False)
        assert await log.bounds() == Bounds(head.epoch, 6, 5)
        with pytest.raises(PositionLost):
            await log.read(head, 10, 0)
        assert await log.read(Position(head.epoch, 6), 10, 0) == []
        assert await log.append(b"", "6") == Position(head.epoch, 6)


def test_a_hole_is_lost(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        for i in range(3):
            head = await log.append(b"", str(i))
        await client.xdel(key, f"{head.epoch}-2")
        with pytest.raises(PositionLost):
            await log.read(Position(head.epoch, 1), 10, 0)
        await client.xdel(key, f"{head.epoch}-3")
        with pytest.raises(PositionLost):
            await log.read(head, 10, 0.05)


@promise(8, fault="very many events")
def test_retention_trims_on_append(valkey: Server) -> None:
    @run(valkey, retention_records=200)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        for i in range(500):
            head = await log.append(b"", str(i))
        bounds = await log.bounds()
        assert bounds.head == head
        assert 200 <= bounds.last - bounds.first + 1 <= 300


def test_a_deleted_log_is_lost_until_opened_again_with_a_larger_epoch(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        head = await log.append(b"a", "1")
        await client.delete(key)
        with pytest.raises(PositionLost):
            await log.append(b"b", "2")
        with pytest.raises(PositionLost):
            await log.bounds()
        with pytest.raises(PositionLost):
            await log.read(Position(head.epoch, 2), 10, 0.05)
        assert not await client.exists(key)
        await log.open()
        assert (await log.bounds()).epoch > head.epoch
        with pytest.raises(PositionLost):
            await log.read(Position(head.epoch, 2), 10, 0)


def test_a_waiting_read_notices_that_the_log_was_replaced(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        head = await log.append(b"a", "1")
        reading = asyncio.ensure_future(log.read(Position(head.epoch, 2), 10, 10))
        await eventually(lambda: waiting(client))
        other = RedisStreamsLog(client, stream=key)
        await other.open()
        await other.renew(head.epoch)
        await other.append(b"b", "2")
        with pytest.raises(PositionLost):
            await reading
        with pytest.raises(PositionLost):
            await log.append(b"c", "3")  # the epoch that it opened is gone
        await log.open()
        assert (await log.append(b"c", "3")).offset == 2
        await other.close()


def test_of_many_that_renew_one_succeeds(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        head = await log.append(b"a", "1")
        logs = [RedisStreamsLog(client, stream=key) for _ in range(4)]
        await asyncio.gather(*(each.open() for each in logs))
        await asyncio.gather(*(each.renew(head.epoch) for each in logs))
        bounds = await asyncio.gather(*(each.bounds() for each in logs))
        assert len(set(bounds)) == 1
        assert bounds[0].epoch > head.epoch
        assert (bounds[0].first, bounds[0].last) == (1, 0)
        assert await logs[0].append(b"", "2") == Position(bounds[0].epoch, 1)
        await logs[1].renew(head.epoch)
        assert (await log.bounds()).last == 1
        far = bounds[0].epoch + 10**12  # a clock that went back: the floor decides
        await logs[1].renew(far)
        assert (await log.bounds()).epoch == far + 1
        await client.delete(key)
        await logs[1].open()
        assert (await log.bounds()).epoch == far + 2
        await asyncio.gather(*(each.close() for each in logs))


def test_a_key_of_somebody_else_is_refused_by_name(valkey: Server) -> None:
    async def main() -> None:
        async with Redis.from_url(valkey.url) as client:
            text, stream = (f"test:{uuid.uuid4().hex}" for _ in range(2))
            await client.set(text, "x")
            log = RedisStreamsLog(client, stream=text)
            with pytest.raises(LogRefused, match=text):
                await log.open()
            await log.close()
            assert await client.get(text) == b"x"
            await client.xadd(stream, {"a": "b"}, id="1700-1")
            await client.xadd(stream, {"a": "b"}, id="1800-1")
            log = RedisStreamsLog(client, stream=stream)
            await log.open()
            with pytest.raises(LogRefused, match=stream):
                await log.bounds()
            await log.close()
            assert await client.xlen(stream) == 2

    asyncio.run(main())


def test_a_record_of_another_program_keeps_its_place(valkey: Server) -> None:
    @run(valkey)
    async def _(log: RedisStreamsLog, client: Redis, key: str) -> None:
        first = await log.append(b"a", "1")
        await client.xadd(key, {"who": "cron"})
        await client.xadd(key, {"id": "cron:1:1", "data": b"\xff"})
        records = await log.read(first, 10, 0)
        assert [(r.position.offset, r.id, r.data) for r in records] == [
            (1, "1", b"a"),
            (2, "", b""),
            (3, "cron:1:1", b"\xff"),
        ]


def test_a_closed_log_says_so_and_opens_in_another_loop(valkey: Server) -> None:
    client = Redis.from_url(valkey.url)
    log = RedisStreamsLog(client, stream=f"test:{uuid.uuid4().hex}")

    async def use(id: str) -> Position:
        with pytest.raises(LogUnavailable, match="not open"):
            await log.append(b"", id)
        await log.open()
        position = await log.append(b"", id)
        await asyncio.gather(log.open(), log.bounds(), log.bounds())
        await log.close()
        await log.close()
        return position

    first, second = asyncio.run(use("1")), asyncio.run(use("2"))
    assert second == Position(first.epoch, first.offset + 1)


def test_every_call_is_the_users_clients_but_never_the_client_itself(valkey: Server) -> None:
    port = int(valkey.url.split(":")[2].split("/")[0])
    host = valkey.url.split("//")[1].split(":")[0]

    async def main() -> None:
        pool = BlockingConnectionPool(host=host, port=port, max_connections=1, timeout=0.1)
        clients = [
            Redis(host=host, port=port),
            Redis(host=host, port=port, decode_responses=True, encoding="latin-1", protocol=2),
            Redis(host=host, port=port, decode_responses=True, protocol=3, health_check_interval=1),
            Redis(connection_pool=pool, single_connection_client=True),
        ]
        for client in clients:
            log = RedisStreamsLog(client, stream=f"test:{uuid.uuid4().hex}")
            await log.open()
            position = await log.append(b"\xff\x00", "ä")
            assert (await log.read(position, 1, 0))[0][1:] == ("ä", b"\xff\x00")
            await log.close()
            # it was not connected by us, and it still works
            assert not client.connection_pool._available_connections
            assert await client.ping()
            await client.aclose()
        await pool.aclose()

    asyncio.run(main())


def test_what_is_no_asyncio_client_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"redis\.asyncio\.Redis"):
        RedisStreamsLog(redis.Redis())  # type: ignore[arg-type]
    with pytest.raises(CacheError, match="retention_records"):
        RedisStreamsLog(Redis(), retention_records=0)
    assert "secret" not in repr(RedisStreamsInvalidationBus(Redis(password="secret")))
