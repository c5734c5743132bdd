from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable

import pytest

from async_hybrid_cache.errors import ConfigurationError, LogUnavailable, PositionLost
from async_hybrid_cache.positions import Position
from async_hybrid_cache_brokers.memory import BROKER, MemoryInvalidationBus, MemoryLog
from async_hybrid_cache_brokers.memory import log as log_module


def opened(test: Callable[[MemoryLog], Awaitable[None]], **options: int) -> None:
    async def main() -> None:
        log = MemoryLog(**options)
        await log.open()
        await test(log)
        await log.close()

    asyncio.run(main())


def test_positions_that_are_not_held_are_lost() -> None:
    async def test(log: MemoryLog) -> None:
        for number in range(25):
            await log.append(b"", f"id{number}")
        epoch, first, last = await log.bounds()
        assert (first, last) == (16, 25)
        for position in ((epoch, 15), (epoch, 0), (epoch, 27), (epoch - 1, 20), (epoch + 1, 1)):
            with pytest.raises(PositionLost):
                await log.read(Position(*position), 1, 5)
        assert len(await log.read(Position(epoch, 16), 100, 0)) == 10
        # memory of ids is bounded by what is held
        assert (await log.append(b"", "id0")).offset == 26

    opened(test, retention_records=10)


def test_renew_happens_once_and_wakes_a_waiting_reader() -> None:
    async def test(log: MemoryLog) -> None:
        epoch = (await log.bounds()).epoch
        await log.append(b"", "a")
        waiting = asyncio.create_task(log.read(Position(epoch, 2), 1, 30))
        await asyncio.sleep(0)
        await asyncio.gather(*(log.renew(epoch) for _ in range(5)))
        with pytest.raises(PositionLost):
            await waiting
        renewed = await log.bounds()
        assert renewed.epoch > epoch
        assert (renewed.first, renewed.last) == (1, 0)
        await log.renew(epoch)
        assert await log.bounds() == renewed
        assert await log.append(b"", "a") == Position(renewed.epoch, 1)

    opened(test)


def test_a_reader_in_another_thread_is_woken() -> None:
    name = secrets.token_hex(4)
    ready = threading.Event()
    got: list[bytes] = []

    async def reader() -> None:
        log = MemoryLog(name)
        await log.open()
        epoch = (await log.bounds()).epoch
        reading = asyncio.create_task(log.read(Position(epoch, 1), 1, 30))
        await asyncio.sleep(0)
        ready.set()
        got.extend(record.data for record in await reading)

    async def writer() -> None:
        log = MemoryLog(name)
        await log.open()
        await log.append(b"hello", "a")

    thread = threading.Thread(target=lambda: asyncio.run(reader()))
    thread.start()
    assert ready.wait(10)
    asyncio.run(writer())
    thread.join(10)
    assert not thread.is_alive()
    assert got == [b"hello"]


def test_a_reader_whose_loop_died_does_not_break_the_writer() -> None:
    name = secrets.token_hex(4)
    log = MemoryLog(name)
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        await log.open()
        epoch = (await log.bounds()).epoch
        reading = asyncio.ensure_future(log.read(Position(epoch, 1), 1, 30))
        await asyncio.sleep(0)
        abandoned.append(reading)

    abandoned: list[asyncio.Future[object]] = []
    loop.run_until_complete(begin())
    loop.close()

    async def write() -> None:
        other = MemoryLog(name)
        await other.open()
        assert (await other.append(b"", "a")).offset == 1

    asyncio.run(write())
    abandoned[0]._log_destroy_pending = False  # type: ignore[attr-defined]


def test_waiting_ends_and_may_be_cancelled() -> None:
    async def test(log: MemoryLog) -> None:
        epoch = (await log.bounds()).epoch
        assert await log.read(Position(epoch, 1), 1, 0.01) == []
        waiting = asyncio.create_task(log.read(Position(epoch, 1), 1, 30))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not log._records.waiters

    opened(test)


def test_a_closed_log_is_unavailable_and_opens_again_in_another_loop() -> None:
    log = MemoryLog()

    async def once() -> int:
        await log.open()
        offset = (await log.append(b"", secrets.token_hex(4))).offset
        await log.close()
        for call in (log.bounds(), log.append(b"", "x"), log.read(Position(1, 1), 1, 0), log.renew(0)):
            with pytest.raises(LogUnavailable):
                await call
        return offset

    assert [asyncio.run(once()), asyncio.run(once())] == [1, 2]


def test_urls() -> None:
    async def shared(one: MemoryInvalidationBus, two: MemoryInvalidationBus) -> bool:
        log, other = one.new_log(), two.new_log()
        await log.open()
        await other.open()
        before = (await other.bounds()).last
        await log.append(b"", secrets.token_hex(4))
        return (await other.bounds()).last == before + 1

    def bus(url: str, namespace: str = "ahc") -> MemoryInvalidationBus:
        found = BROKER.bus(url, namespace=namespace, stream=None)
        assert isinstance(found, MemoryInvalidationBus)
        return found

    assert asyncio.run(shared(bus("memory://"), MemoryInvalidationBus()))
    assert asyncio.run(shared(bus("memory://jobs"), MemoryInvalidationBus("jobs")))
    assert not asyncio.run(shared(bus("memory://jobs"), bus("memory://other")))
    assert not asyncio.run(shared(bus("memory://jobs"), bus("memory://jobs", "shop")))
    assert BROKER.distributed_cache("memory://", namespace="ahc") is None
    for url in ("memory://x?retention=1", "memory://x/y", "memory://u:secret@x"):
        with pytest.raises(ConfigurationError, match="memory://name") as caught:
            BROKER.bus(url, namespace="ahc", stream=None)
        assert "secret" not in str(caught.value)


def test_retention_is_checked_at_once() -> None:
    with pytest.raises(ConfigurationError, match="retention_records"):
        MemoryLog(retention_records=0)


def test_a_deleted_name_is_free_and_lost_to_whoever_holds_it() -> None:
    name, bystander = secrets.token_hex(4), secrets.token_hex(4)

    async def main() -> None:
        log, other = MemoryLog(name), MemoryLog(bystander)
        await log.open()
        await other.open()
        position = await log.append(b"old", "a")
        reading = asyncio.create_task(log.read(position._replace(offset=2), 1, 30))
        await asyncio.sleep(0)
        MemoryLog.delete(name)
        MemoryLog.delete(name)
        with pytest.raises(PositionLost):
            await reading
        for call in (log.append(b"", "b"), log.bounds(), log.read(position, 1, 0), log.renew(position.epoch)):
            with pytest.raises(PositionLost):
                await call
        assert (await other.append(b"", "a")).offset == 1
        fresh = MemoryLog(name)
        await fresh.open()
        await log.open()
        assert await fresh.append(b"new", "a") == Position((await log.bounds()).epoch, 1)
        assert (await log.bounds()).epoch > position.epoch

    asyncio.run(main())


def test_a_name_that_was_never_opened_is_not_kept() -> None:
    name = secrets.token_hex(4)
    for _ in range(3):
        MemoryLog(name)
    assert name not in log_module._named
    MemoryLog.delete(name)
