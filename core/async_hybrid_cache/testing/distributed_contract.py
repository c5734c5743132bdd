"""What every `DistributedCache` does; each broker inherits this and adds a `world` fixture."""

from __future__ import annotations

import asyncio

import pytest

from async_hybrid_cache.distributed import DistributedCache, Hit, Miss
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache.testing.worlds import DistributedWorld, scenario

__all__ = ["STAMP", "DistributedContract", "data_of", "fill", "get", "no_lease", "put", "token_for"]

# epochs are as large as microseconds since 1970, offsets as long as a log lives
STAMP = Position(1_800_000_000_000_001, 7)


async def get(
    l2: DistributedCache, key: str, scope: str = "scope", oldest: Position = ORIGIN, lease_seconds: float = 30
) -> Hit | Miss:
    return await l2.get(scope, key, oldest=oldest, lease_seconds=lease_seconds)


def no_lease(found: Hit | Miss) -> bool:
    """Whether it is a miss that hands out no token."""
    return isinstance(found, Miss) and found.token is None


async def token_for(l2: DistributedCache, key: str, scope: str = "scope", lease_seconds: float = 30) -> str:
    """The token of a miss, which must hand one out."""
    found = await get(l2, key, scope, lease_seconds=lease_seconds)
    assert isinstance(found, Miss)
    assert found.token
    return found.token


async def fill(
    l2: DistributedCache, key: str, token: str, data: bytes = b"data", scope: str = "scope", ttl: float = 60
) -> bool:
    return await l2.fill(scope, key, data, stamp=STAMP, ttl=ttl, token=token)


async def put(l2: DistributedCache, key: str, data: bytes = b"data", scope: str = "scope", ttl: float = 60) -> None:
    """Store an entry as a set does."""
    token = await l2.lease(scope, key, lease_seconds=30)
    assert await fill(l2, key, token, data, scope, ttl)


async def data_of(l2: DistributedCache, key: str, scope: str = "scope") -> bytes | None:
    found = await get(l2, key, scope)
    return found.data if isinstance(found, Hit) else None


class DistributedContract:
    """The contract of `DistributedCache`."""

    @scenario
    async def test_one_miss_gets_the_token_and_its_fill_is_stored(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        token = await token_for(l2, "key")
        assert no_lease(await get(l2, "key"))
        assert no_lease(await get(other, "key"))
        assert await fill(l2, "key", token)
        for handle in (l2, other):
            found = await get(handle, "key")
            assert isinstance(found, Hit)
            assert (found.data, found.stamp) == (b"data", STAMP)
            assert 58 < found.remaining <= 60

    @scenario
    async def test_a_token_fills_once(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        token = await token_for(l2, "key")
        assert await fill(l2, "key", token, b"first")
        assert not await fill(l2, "key", token, b"second")
        assert await data_of(l2, "key") == b"first"

    @scenario
    async def test_a_fill_without_the_live_token_is_refused(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        assert not await fill(l2, "key", "never given")
        token = await token_for(l2, "key")
        foreign = await token_for(l2, "another key")
        for wrong in ("", "wrong", token[:-1], token + "0", foreign):
            assert not await fill(l2, "key", wrong)
        assert no_lease(await get(l2, "key")), "a refused fill must not end the lease"
        assert await fill(l2, "key", token)

    @pytest.mark.parametrize("cause", ["delete", "clear scope", "clear all", "lease"])
    @scenario
    async def test_a_change_voids_the_lease(self, world: DistributedWorld, cause: str) -> None:
        l2, other = await world.opened(), await world.opened()
        token = await token_for(l2, "key")
        newer: str | None = None
        match cause:
            case "delete":
                await other.delete("scope", ["key"])
            case "clear scope":
                await other.clear("scope")
            case "clear all":
                await other.clear(None)
            case _:
                newer = await other.lease("scope", "key", lease_seconds=30)
        assert not await fill(l2, "key", token, b"old")
        if newer is not None:
            assert no_lease(await get(l2, "key"))
            assert await fill(l2, "key", newer, b"new")
            assert await data_of(l2, "key") == b"new"
        else:
            assert await fill(l2, "key", await token_for(l2, "key"), b"new")

    @scenario
    async def test_a_lease_taken_by_a_set_deletes_the_entry(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        await put(l2, "key", b"old")
        token = await l2.lease("scope", "key", lease_seconds=30)
        assert no_lease(await get(l2, "key"))
        assert await fill(l2, "key", token, b"new")
        assert await data_of(l2, "key") == b"new"

    @scenario
    async def test_a_lease_given_back_is_free_at_once(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        token = await token_for(l2, "key")
        await l2.release("scope", "key", token="another")
        assert no_lease(await get(other, "key"))
        await l2.release("scope", "key", token=token)
        assert not await fill(l2, "key", token)
        assert await fill(other, "key", await token_for(other, "key"))
        await l2.release("scope", "key", token=token)
        assert await data_of(other, "key") == b"data"

    @scenario
    async def test_a_get_that_wants_no_lease_takes_none(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        assert no_lease(await get(l2, "key", lease_seconds=0))
        probe, load = await asyncio.gather(get(l2, "key", lease_seconds=0), get(l2, "key", lease_seconds=30))
        assert no_lease(probe)
        assert isinstance(load, Miss)
        assert load.token
        assert no_lease(await get(l2, "key", lease_seconds=0))
        assert await fill(l2, "key", load.token)

    @scenario
    async def test_a_lease_ends_by_itself(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        late = await token_for(l2, "key", lease_seconds=0.1)

        async def next_token() -> str:
            found = await get(l2, "key")
            assert isinstance(found, Miss)
            return found.token or ""

        token = await eventually(next_token, message="the lease did not end")
        assert not await fill(l2, "key", late, b"late")
        assert await fill(l2, "key", token, b"in time")
        assert await data_of(l2, "key") == b"in time"

    @scenario
    async def test_a_lease_that_ended_refuses_even_if_nobody_took_it(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        late = await token_for(l2, "key", lease_seconds=0.05)
        await token_for(l2, "clock", lease_seconds=0.1)

        async def ended() -> bool:
            return not no_lease(await get(l2, "clock"))

        await eventually(ended, message="the lease did not end")
        assert not await fill(l2, "key", late)

    @scenario
    async def test_remaining_counts_down_and_the_entry_ends(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        await put(l2, "key", ttl=0.5)
        remaining = 0.5
        while isinstance(found := await get(l2, "key"), Hit):
            assert 0 <= found.remaining <= remaining
            remaining = found.remaining
            await asyncio.sleep(0.02)
        assert remaining < 0.3, "the entry ended too early"
        assert found.token

    @scenario
    async def test_an_entry_older_than_asked_is_deleted_and_a_miss(self, world: DistributedWorld) -> None:
        epoch, offset = STAMP
        newer = [Position(epoch, offset + 1), Position(epoch + 1, 1)]
        older = [STAMP, Position(epoch, offset - 1), Position(epoch - 1, 10 * offset), ORIGIN]
        l2 = await world.opened()
        for oldest in newer:
            await put(l2, "key")
            for harmless in older:
                assert isinstance(await get(l2, "key", oldest=harmless), Hit)
            found = await get(l2, "key", oldest=oldest)
            assert isinstance(found, Miss)
            assert found.token
            assert no_lease(await get(l2, "key")), "the entry must be gone for those that ask for less"

    @scenario
    async def test_stamps_come_back_exactly(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        large = (Position(STAMP.epoch, 2**40 + 1), Position(2**53 + 1, 2**53 - 1))
        for stamp in (ORIGIN, Position(1, 1), *large):
            token = await l2.lease("scope", "key", lease_seconds=30)
            assert await l2.fill("scope", "key", b"", stamp=stamp, ttl=60, token=token)
            found = await get(l2, "key", oldest=stamp)
            assert isinstance(found, Hit)
            assert found.stamp == stamp

    @scenario
    async def test_delete_takes_the_keys_named_and_no_others(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        for key in "abc":
            await put(l2, key)
        await put(l2, "a", scope="other")
        await l2.delete("scope", [])
        await l2.delete("scope", ["a", "b", "missing"])
        assert [await data_of(l2, key) for key in "abc"] == [None, None, b"data"]
        assert await data_of(l2, "a", "other") == b"data"

    @scenario
    async def test_delete_of_very_many_keys(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        await put(l2, "key-9999")
        await put(l2, "kept")
        await l2.delete("scope", [f"key-{n}" for n in range(10_000)])
        assert await data_of(l2, "key-9999") is None
        assert await data_of(l2, "kept") == b"data"

    @scenario
    async def test_clear_of_a_scope_leaves_the_others(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        for scope in ("scope", "scope2", "sco", "scope:x", ""):
            await put(l2, "key", scope=scope)
        await other.clear("scope")
        assert await data_of(l2, "key", "scope") is None
        for scope in ("scope2", "sco", "scope:x", ""):
            assert await data_of(other, "key", scope) == b"data"
        await put(l2, "key")
        assert await data_of(other, "key") == b"data"

    @scenario
    async def test_clear_of_all_takes_every_scope(self, world: DistributedWorld) -> None:
        l2, other = await world.opened(), await world.opened()
        for scope in ("a", "b", ""):
            await put(l2, "key", scope=scope)
        await other.clear(None)
        for scope in ("a", "b", ""):
            assert await data_of(l2, "key", scope) is None
            await put(other, "key", b"new", scope=scope)
            assert await data_of(l2, "key", scope) == b"new"

    @scenario
    async def test_clear_leaves_what_belongs_to_somebody_else(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        await put(l2, "key")
        await world.settle_neighbours()
        await l2.clear("scope")
        await l2.clear(None)
        assert await data_of(l2, "key") is None
        await world.check_neighbours()

    @scenario
    async def test_scope_and_key_never_run_together(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        names = ["", "a", "b", "c", ":", "a:", ":a", "a:b", "b:c", "a:b:c", "1:a", "a\0b", "\0", "{a}", "*"]
        pairs = [(scope, key) for scope in names for key in names]
        for scope, key in pairs:
            await put(l2, key, repr((scope, key)).encode(), scope)
        for scope, key in pairs:
            assert await data_of(l2, key, scope) == repr((scope, key)).encode()

    @scenario
    async def test_any_string_is_a_key(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        keys = ["ключ", "🔑", "e\u0301", "\u00e9", " ", "\n\r\t", "'; --", '"', "\\", "k" * 4096, "a\x00"]
        for key in keys:
            await put(l2, key, key.encode(), scope=key)
        assert [await data_of(l2, key, key) for key in keys] == [key.encode() for key in keys]
        await l2.delete(keys[0], keys)
        assert await data_of(l2, keys[0], keys[0]) is None
        assert await data_of(l2, keys[1], keys[1]) is not None

    @scenario
    async def test_any_bytes_are_data(self, world: DistributedWorld) -> None:
        l2 = await world.opened()
        for data in (b"", b"\x00", bytes(range(256)), b"\xff" * 1_000_000):
            await put(l2, "key", data)
            assert await data_of(l2, "key") == data

    @scenario
    async def test_close_may_be_called_at_any_time_and_again(self, world: DistributedWorld) -> None:
        l2 = world.handle()
        await l2.close()
        await l2.open()
        await l2.close()
        await l2.close()
        await l2.open()
        await put(l2, "key")
        assert await data_of(l2, "key") == b"data"

    def test_opens_again_in_another_loop(self, world: DistributedWorld) -> None:
        l2 = world.handle()

        async def in_a_loop_of_its_own(write: bytes, expected: bytes | None) -> None:
            async with world:
                await l2.open()
                assert await data_of(l2, "key") == expected
                await put(l2, "key", write)

        for write, expected in [(b"1", None), (b"2", b"1"), (b"3", b"2")]:
            asyncio.run(in_a_loop_of_its_own(write, expected))

    @scenario
    async def test_the_serializer_takes_and_gives_values(self, world: DistributedWorld) -> None:
        serializer = world.handle().serializer
        for value in (None, 0, "text", [1, 2], {"a": 1}):
            assert serializer.loads(serializer.dumps(value)) == value
