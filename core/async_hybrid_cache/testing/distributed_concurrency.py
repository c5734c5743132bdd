"""Calls of a `DistributedCache` that run at once, and that are cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.testing.distributed_contract import STAMP, data_of, get, no_lease, put
from async_hybrid_cache.testing.waiting import cancelled_somewhere
from async_hybrid_cache.testing.worlds import DistributedWorld, scenario

__all__ = ["DistributedConcurrencyContract"]


class DistributedConcurrencyContract:
    """Each caller gets its own answer, whoever else asks or gives up."""

    @scenario
    async def test_200_at_once_get_their_own_answers(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        for number in range(0, 200, 2):
            await put(l2, f"key-{number}", str(number).encode())
        found = await asyncio.gather(*(get(l2, f"key-{number}") for number in range(200)))
        tokens = set()
        for number, answer in enumerate(found):
            if number % 2 == 0:
                assert isinstance(answer, Hit)
                assert answer.data == str(number).encode()
            else:
                assert isinstance(answer, Miss)
                tokens.add(answer.token)
        assert None not in tokens
        assert len(tokens) == 100

    @scenario
    async def test_of_200_that_miss_one_key_one_gets_the_token(self, world: DistributedWorld) -> None:
        handles = [await world.opened() for _ in range(4)]
        found = await asyncio.gather(*(get(handles[n % 4], "key") for n in range(200)))
        assert all(isinstance(answer, Miss) for answer in found)
        assert sum(not no_lease(answer) for answer in found) == 1

    @scenario
    async def test_at_once_different_bounds_are_kept_apart(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        for key in "ab":
            await put(l2, key)
        newer = STAMP._replace(offset=STAMP.offset + 1)
        old, fresh = await asyncio.gather(get(l2, "a", oldest=newer), get(l2, "b", oldest=STAMP))
        assert isinstance(old, Miss)
        assert isinstance(fresh, Hit)

    @pytest.mark.parametrize("seed", [1, 2, 3])
    @scenario
    async def test_cancelled_calls_do_no_harm(self, world: DistributedWorld, seed: int) -> None:
        rng = random.Random(seed)
        l2 = await world.opened()
        for number in range(20):
            await put(l2, f"key-{number}", str(number).encode())
        cancelled = 0
        for _ in range(150):
            numbers = [rng.randrange(20) for _ in range(4)]
            answers = await asyncio.gather(
                cancelled_somewhere(get(l2, f"key-{numbers[0]}"), rng),
                cancelled_somewhere(put(l2, "written", b"any"), rng),
                *(get(l2, f"key-{number}") for number in numbers),
            )
            cancelled += answers[0] is None
            for number, answer in zip(numbers, answers[2:], strict=True):
                assert isinstance(answer, Hit)
                assert answer.data == str(number).encode()
        assert cancelled, "nothing was cancelled in time"
        await put(l2, "written", b"last")
        assert await data_of(l2, "written") == b"last"
