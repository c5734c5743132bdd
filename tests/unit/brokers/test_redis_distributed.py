"""The L2 on Redis: entries, stamps, leases, generations."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.testing.distributed_contract import no_lease
from async_hybrid_cache.testing.waiting import eventually
from async_hybrid_cache_brokers.redis import RedisDistributedCache
from async_hybrid_cache_codecs.msgpack import MsgpackSerializer
from tests.servers.server import Server

P = Position(1_760_000_000_000_000, 7)
Body = Callable[[RedisDistributedCache, Redis, str], Awaitable[None]]


def run(server: Server, prefix: str = "") -> Callable[[Body], None]:
    """Run a test's body with an open L2, a plain client and the prefix."""

    def decorate(body: Body) -> None:
        async def main() -> None:
            name = f"{prefix}{uuid.uuid4().hex}"
            async with Redis.from_url(server.url) as client:
                l2 = RedisDistributedCache(client, prefix=name)
                await l2.open()
                try:
                    await body(l2, client, name)
                finally:
                    await l2.close()

        asyncio.run(main())

    return decorate


async def get(
    l2: RedisDistributedCache, scope: str, key: str, oldest: Position = ORIGIN, lease: float = 60
) -> Hit | Miss:
    return await l2.get(scope, key, oldest=oldest, lease_seconds=lease)


async def store(l2: RedisDistributedCache, scope: str, key: str, data: bytes, stamp: Position = P) -> None:
    token = await l2.lease(scope, key, lease_seconds=60)
    assert await l2.fill(scope, key, data, stamp=stamp, ttl=60, token=token)


async def leased(l2: RedisDistributedCache, scope: str, key: str, oldest: Position = ORIGIN) -> str:
    miss = await get(l2, scope, key, oldest)
    assert isinstance(miss, Miss)
    assert miss.token is not None
    return miss.token


def test_a_fill_is_found_with_its_stamp_and_the_time_left(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        data = bytes(range(256)) * 100
        token = await leased(l2, "users", "1")
        assert await l2.fill("users", "1", data, stamp=P, ttl=30.5, token=token)
        hit = await get(l2, "users", "1", oldest=P)
        assert isinstance(hit, Hit)
        assert (hit.data, hit.stamp) == (data, P)
        assert 25 < hit.remaining <= 30.5
        assert 25_000 < await client.pttl(f"{prefix}:users:1") <= 30_500
        assert not await l2.fill("users", "1", b"again", stamp=P, ttl=30, token=token)


def test_an_entry_and_a_lease_end_by_themselves(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        token = await leased(l2, "s", "k")
        assert await l2.fill("s", "k", b"", stamp=P, ttl=0.05, token=token)
        await eventually(lambda: is_miss(l2, "s", "k"))
        late = await l2.lease("s", "k2", lease_seconds=0.05)
        assert no_lease(await get(l2, "s", "k2", lease=0.05))
        await eventually(lambda: has_token(l2, "s", "k2"))
        assert not await l2.fill("s", "k2", b"", stamp=P, ttl=60, token=late)
        await store(l2, "s", "ever", b"x")
        token = await l2.lease("s", "ever", lease_seconds=1e300)
        assert await l2.fill("s", "ever", b"x", stamp=P, ttl=float("inf"), token=token)


async def is_miss(l2: RedisDistributedCache, scope: str, key: str) -> bool:
    return isinstance(await get(l2, scope, key), Miss)


async def has_token(l2: RedisDistributedCache, scope: str, key: str) -> bool:
    answer = await get(l2, scope, key)
    return isinstance(answer, Miss) and answer.token is not None


def test_one_lease_at_a_time_also_within_one_turn(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        answers = await asyncio.gather(*(get(l2, "s", "k") for _ in range(20)))
        tokens = [a.token for a in answers if isinstance(a, Miss) and a.token]
        assert len(answers) == 20
        assert len(tokens) == 1
        assert no_lease(await get(l2, "s", "k"))
        assert await l2.fill("s", "k", b"v", stamp=Position(1, 1), ttl=60, token=tokens[0])
        # an entry that is too old for all of them makes one lease too
        answers = await asyncio.gather(*(get(l2, "s", "k", oldest=P) for _ in range(20)))
        assert sum(isinstance(a, Miss) and a.token is not None for a in answers) == 1


@pytest.mark.parametrize("void", ["delete", "lease", "clear scope", "clear all"])
def test_a_void_lease_fills_nothing(valkey: Server, void: str) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        token = await leased(l2, "s", "k")
        if void == "delete":
            await l2.delete("s", ["other", "k"])
        elif void == "lease":
            await l2.lease("s", "k", lease_seconds=60)
        else:
            await l2.clear("s" if void == "clear scope" else None)
        assert not await l2.fill("s", "k", b"old", stamp=P, ttl=60, token=token)
        if void != "lease":
            again = await leased(l2, "s", "k")
            assert not await l2.fill("s", "k", b"old", stamp=P, ttl=60, token=token)
            assert await l2.fill("s", "k", b"new", stamp=P, ttl=60, token=again)


def test_entries_older_than_asked_for_are_misses_with_a_lease(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        for number, oldest in enumerate([Position(P.epoch, 8), Position(P.epoch, 10), Position(P.epoch + 1, 0)]):
            await store(l2, "s", str(number), b"x")
            assert isinstance(await get(l2, "s", str(number), Position(P.epoch - 1, 10**12)), Hit)
            assert isinstance(await get(l2, "s", str(number), P), Hit)
            await leased(l2, "s", str(number), oldest)
            assert no_lease(await get(l2, "s", str(number)))


def test_delete_takes_many_and_only_these(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        for key in "abc":
            await store(l2, "s", key, b"x")
        await store(l2, "t", "a", b"x")
        await l2.delete("s", ["a", "b"])
        await l2.delete("s", [])
        assert await client.exists(f"{prefix}:s:a", f"{prefix}:s:b") == 0
        assert isinstance(await get(l2, "s", "c"), Hit)
        assert isinstance(await get(l2, "t", "a"), Hit)


def test_clear_hits_its_scope_or_all_and_nothing_else(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        other = RedisDistributedCache(client, prefix=f"{prefix}-other")
        await other.open()
        await store(other, "s", "k", b"x")
        for scope in ("s", "t", ""):
            await store(l2, scope, "k", b"x")
        await l2.clear("s")
        assert [await is_miss(l2, scope, "k") for scope in ("s", "t", "")] == [True, False, False]
        await store(l2, "s", "k", b"x")
        assert isinstance(await get(l2, "s", "k"), Hit)
        await l2.clear("")
        assert [await is_miss(l2, scope, "k") for scope in ("s", "t", "")] == [False, False, True]
        await l2.clear(None)
        assert [await is_miss(l2, scope, "k") for scope in ("s", "t", "")] == [True, True, True]
        assert isinstance(await get(other, "s", "k"), Hit)
        assert await client.hlen(f"{prefix}:clears") == 1
        await other.close()


def test_every_clear_counts_within_one_microsecond_and_under_a_clock_that_went_back(
    valkey: Server,
) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        future = f"{10**15 * 5:020}"
        await client.hset(f"{prefix}:clears", mapping={"": future, ":s": future})
        for scope in ("s", None, "s", "s", None, None):
            await store(l2, "s", "k", b"x")
            await l2.clear(scope)
            assert await is_miss(l2, "s", "k")


def test_losing_the_clears_brings_nothing_back(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        await store(l2, "s", "k", b"old")
        await l2.clear("s")
        await client.delete(f"{prefix}:clears")
        assert await is_miss(l2, "s", "k")


def test_scopes_and_keys_are_any_text_and_never_collide(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        texts = [
            "",
            ":",
            "::",
            "a:b",
            "a",
            "b:",
            "%3A",
            "%",
            " x ",
            "\0",
            "ключ",
            "😀",
            "{a}",
            "clears",
            "all",
        ]
        pairs = [(scope, key) for scope in texts for key in texts]
        for number, (scope, key) in enumerate(pairs):
            await store(l2, scope, key, b"%d" % number)
        hits = await asyncio.gather(*(get(l2, *pair) for pair in pairs))
        assert [hit.data for hit in hits if isinstance(hit, Hit)] == [b"%d" % n for n in range(len(pairs))]


def test_a_foreign_value_under_our_key_is_a_miss_that_can_be_filled(valkey: Server) -> None:
    @run(valkey)
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        for key, value in (("short", "V"), ("long", "x" * 200), ("empty", "")):
            await client.set(f"{prefix}:s:{key}", value)
        await client.rpush(f"{prefix}:s:list", "x")
        for key in ("short", "long", "empty", "list"):
            token = await leased(l2, "s", key)
            assert await l2.fill("s", key, b"v", stamp=P, ttl=60, token=token)


def test_the_gets_of_one_turn_share_a_round_trip(own_valkey: Server) -> None:
    @run(own_valkey)  # whose calls are counted
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        await asyncio.gather(*(get(l2, "s", "warm") for _ in range(2)))
        scripts = await script_calls(client)
        pairs = [(f"scope-{i % 7}", str(i)) for i in range(1200)]
        answers = await asyncio.gather(*(get(l2, *pair) for pair in pairs))
        assert len({a.token for a in answers if isinstance(a, Miss)}) == 1200
        assert await script_calls(client) - scripts == 3
        tokens = [a.token for a in answers if isinstance(a, Miss) and a.token]
        filled = await asyncio.gather(
            *(
                l2.fill(scope, key, b"%s" % key.encode(), stamp=P, ttl=60, token=token)
                for (scope, key), token in zip(pairs, tokens, strict=True)
            )
        )
        assert all(filled)
        hits = await asyncio.gather(*(get(l2, *pair) for pair in pairs))
        assert [hit.data for hit in hits if isinstance(hit, Hit)] == [key.encode() for _, key in pairs]


async def script_calls(client: Redis) -> int:
    stats = await client.info("commandstats")
    return sum(int(stats[name]["calls"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats)


def test_hundreds_of_concurrent_calls_share_a_few_connections(own_valkey: Server) -> None:
    @run(own_valkey)  # whose connections are counted
    async def _(l2: RedisDistributedCache, client: Redis, prefix: str) -> None:
        before = (await client.info("stats"))["total_connections_received"]
        await asyncio.gather(
            *(l2.delete("s", [str(i)]) for i in range(200)),
            *(l2.lease("s", str(i), lease_seconds=1) for i in range(200)),
            *(get(l2, "s", str(i)) for i in range(200)),
        )
        assert (await client.info("stats"))["total_connections_received"] - before <= 4


def test_it_may_be_opened_again_in_another_loop(valkey: Server) -> None:
    l2 = RedisDistributedCache(Redis.from_url(valkey.url), prefix=uuid.uuid4().hex)

    async def use() -> None:
        await l2.open()
        await l2.open()
        await asyncio.gather(*(store(l2, "s", str(i), b"x") for i in range(20)))
        await l2.close()
        await l2.close()

    asyncio.run(use())
    asyncio.run(use())


def test_the_default_serializer_is_msgpack() -> None:
    assert isinstance(RedisDistributedCache(Redis()).serializer, MsgpackSerializer)
