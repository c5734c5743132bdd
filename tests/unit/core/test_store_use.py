"""One checkpoint store in the hands of several parts: opened once, closed by the last, and never waited for in vain."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from async_hybrid_cache import CheckpointError, CheckpointStore
from async_hybrid_cache.ownership import StoreUse
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.memory_checkpoints import MemoryCheckpoints


def test_a_store_is_opened_by_the_first_and_closed_by_the_last() -> None:
    class Counted(MemoryCheckpoints):
        opened = closed = 0

        async def open(self) -> None:
            self.opened += 1

        async def close(self) -> None:
            self.closed += 1

    store = Counted()

    async def scenario() -> None:
        one, two = StoreUse(store, 1.0), StoreUse(store, 1.0)
        await one.load("n")
        await two.load("n")
        assert store.opened == 1
        await one.close()
        await one.close()
        assert store.closed == 0
        await two.close()
        assert store.closed == 1

    asyncio.run(scenario())
    asyncio.run(scenario_in_another_loop(store))
    assert store.opened == 2


async def scenario_in_another_loop(store: CheckpointStore) -> None:
    use = StoreUse(store, 1.0)
    await use.load("n")


def test_a_store_that_is_used_again_while_it_closes_is_open_afterwards() -> None:
    class Slow(MemoryCheckpoints):
        is_open = closing = False

        async def open(self) -> None:
            self.is_open = True

        async def close(self) -> None:
            self.closing = True
            for _ in range(20):
                await asyncio.sleep(0)
            self.is_open = False

        async def load(self, name: str) -> Any:
            assert self.is_open
            return await super().load(name)

    async def scenario() -> None:
        store = Slow()
        one, two = StoreUse(store, 1.0), StoreUse(store, 1.0)
        await one.load("n")
        closing = asyncio.create_task(one.close())
        await eventually(lambda: store.closing, poll_seconds=0)
        await two.load("n")
        await closing
        await two.load("n")
        await two.close()
        assert not store.is_open

    asyncio.run(scenario())


@pytest.mark.parametrize("hangs", [True, False])
def test_a_store_that_does_not_close_holds_up_nobody(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(MemoryCheckpoints):
        async def close(self) -> None:
            if hangs:
                await asyncio.Event().wait()
            raise OSError(5, "secret")

    async def scenario() -> None:
        use = StoreUse(Stuck(), 0.05)
        await use.load("n")
        async with asyncio.timeout(5):
            await use.close()

    asyncio.run(scenario())
    assert "did not close in good order" in caplog.text
    assert "secret" not in caplog.text


def test_a_store_that_was_left_open_in_a_loop_that_ended_is_let_go_of() -> None:
    def leave_open() -> weakref.ref[MemoryCheckpoints]:
        store = MemoryCheckpoints()
        asyncio.run(scenario_in_another_loop(store))
        return weakref.ref(store)

    left = leave_open()
    asyncio.run(scenario_in_another_loop(MemoryCheckpoints()))
    gc.collect()
    assert left() is None


def test_a_store_that_fails_is_opened_again_and_one_that_hangs_is_left() -> None:
    class Bad(MemoryCheckpoints):
        opened = 0
        error: Exception | None = None
        hangs = False

        async def open(self) -> None:
            self.opened += 1

        async def load(self, name: str) -> Any:
            if self.hangs:
                await asyncio.Event().wait()
            if self.error is not None:
                raise self.error
            return await super().load(name)

    async def scenario() -> None:
        store = Bad()
        use = StoreUse(store, 0.05)
        for error in (CheckpointError("away"), KeyError("secret"), OSError(5, "secret")):
            store.error = error
            with pytest.raises(CheckpointError) as failure:
                await use.load("n")
            assert "secret" not in str(failure.value)
        store.error = None
        await use.load("n")
        assert store.opened == 4
        store.hangs = True
        with pytest.raises(CheckpointError, match=r"within 0.05 s"):
            await use.load("n")
        await use.close()

    asyncio.run(scenario())
