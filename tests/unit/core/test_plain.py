"""A cache of the user's own with get, set and delete alone, as the L2."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any

import pytest
from nats.aio.client import Client as NATS
from redis.asyncio import Redis

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    ConfigurationError,
    InvalidationBus,
    InvalidationPublisher,
    JsonSerializer,
    OutboxRelay,
    PickleSerializer,
    PostgresOutbox,
    StreamOptions,
)
from async_hybrid_cache.plain.entry import entry_key, generation_key
from async_hybrid_cache.testing.waiting import eventually
from tests.unit.core.clock import ManualClock
from tests.unit.core.plain_memory import PlainMemory
from tests.unit.core.scripted_log import ScriptedLog


def instance(plain: PlainMemory, name: str, **stream: Any) -> AsyncHybridCache:
    """One on the log of that name."""
    bus = InvalidationBus(lambda: ScriptedLog(name), StreamOptions(**stream))
    return AsyncHybridCache(distributed_cache=plain, invalidation_bus=bus)


def pair(*plain: PlainMemory, name: str) -> list[AsyncHybridCache]:
    """Instances on one log, each with one of these."""
    return [instance(each, name) for each in plain]


def loader(value: Any) -> Any:
    async def load() -> Any:
        await asyncio.sleep(0)
        return value

    return load


def test_what_one_loads_another_reads_and_a_change_reaches_both() -> None:
    async def scenario() -> None:
        values: dict[str, object] = {}
        one, two = pair(PlainMemory(values), PlainMemory(values), name="plain-shared")
        async with one, two:
            for fills, value in enumerate((None, 1, "text", {"a": [1, 2]}), 1):
                await one.get_or_set("k", loader(value))
                await eventually(lambda fills=fills: one.stats().distributed.fills == fills)
                assert await two.get("k", "missing") == value
                await two.remove("k")
                await eventually(lambda: one.stats().entries == 0)
                assert await one.get("k") is None
            await one.set("k", 2)
            assert await two.get("k") == 2
            await two.set("k", 3)
            await eventually(lambda: one.stats().entries == 0)
            assert await one.get("k") == 3

    asyncio.run(scenario())


def test_what_somebody_else_put_there_is_a_miss() -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        async with AsyncHybridCache(distributed_cache=plain) as cache:
            for foreign in ("text", b"\xff", "", 5, {"a": 1}, "a2V5", ("tuple",)):
                plain.values[entry_key(("default", "k"))] = foreign
                assert await cache.get("k", "missing") == "missing"
            assert cache.stats().distributed.state == "up"

    asyncio.run(scenario())


def test_a_warm_read_is_one_get_and_a_clear_is_one_set() -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        async with AsyncHybridCache(distributed_cache=plain, options=CacheOptions(lru_max_keys=0)) as cache:
            await cache.set("k", 1)
            plain.calls.clear()
            await cache.get("k")
            assert plain.calls == ["get"]
            plain.calls.clear()
            await cache.clear(scope="default")
            assert plain.calls == ["set"]

    asyncio.run(scenario())


def test_it_may_bring_its_serializer() -> None:
    class Mine(PlainMemory):
        serializer = PickleSerializer(key=b"k" * 32)

    async def scenario() -> None:
        values: dict[str, object] = {}
        one, two = pair(Mine(values), Mine(values), name="plain-serializer")
        async with one, two:
            await one.set("k", {1, 2})
            assert await two.get("k") == {1, 2}

    asyncio.run(scenario())


@pytest.mark.parametrize("scope", [None, "default"])
def test_a_clear_is_a_clear_for_the_others_and_for_those_who_start_later(scope: str | None) -> None:
    async def scenario() -> None:
        values: dict[str, object] = {}
        plain = [PlainMemory(values) for _ in range(2)]
        one, two = pair(*plain, name=f"plain-clear-{scope}")
        async with one, two:
            await one.set("k", "old")
            await one.set("k", "kept", scope="other")
            await two.clear(scope=scope)
            async with instance(PlainMemory(values), f"plain-clear-{scope}", replay_records=0) as late:
                assert await late.get("k") is None
                assert await late.get("k", scope="other") == (None if scope is None else "kept")
            await eventually(lambda: one.stats().scopes["default"].entries == 0)
            await one.get_or_set("k", loader("new"))
            await eventually(lambda: one.stats().distributed.fills == 3)
            assert await two.get("k") == "new"

    asyncio.run(scenario())


@pytest.mark.parametrize("lost", [None, "default"])
def test_a_generation_that_the_cache_lost_brings_nothing_back(lost: str | None) -> None:
    async def scenario() -> None:
        values: dict[str, object] = {}
        name = f"plain-lost-generation-{lost}"
        async with instance(PlainMemory(values), name) as one:
            await one.set("k", "old")
            old = dict(values)
            await one.clear(scope="default")
            values.update(PlainMemory(old).entries)
            del values[generation_key(lost)]
            async with instance(PlainMemory(values), name, replay_records=0) as late:
                assert await late.get("k") is None
                await late.set("k", "new")
                assert await late.get("k") == "new"

    asyncio.run(scenario())


def test_without_a_log_a_clear_elsewhere_is_noticed_within_seconds() -> None:
    async def scenario() -> None:
        clock, values = ManualClock(), dict[str, object]()
        one, two = (AsyncHybridCache(distributed_cache=PlainMemory(values), clock=clock) for _ in range(2))
        async with one, two:
            await one.set("k", "old")
            await two.clear()
            clock.advance(11)
            await one.clear_memory()
            assert await one.get("k") is None

    asyncio.run(scenario())


def test_failures_are_those_of_any_l2(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        async with AsyncHybridCache(distributed_cache=plain) as cache:
            await cache.set("k", 1)
            plain.failing = {"get", "set", "delete"}
            await cache.clear_memory()
            assert await cache.get_or_set("k", loader(2)) == 2
            await cache.remove("k")
            stats = cache.stats().distributed
            assert (stats.state, stats.late_deletes) == ("down", 1)
            reasons = "".join(cache.health().reasons)
            assert "PlainMemory.get failed with OSError" in reasons
            plain.failing.clear()
            await eventually(lambda: cache.stats().distributed.state == "up")
            await eventually(lambda: not plain.entries)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())
    assert "hunter2" not in caplog.text


def test_a_frozen_one_costs_one_timeout() -> None:
    async def scenario() -> None:
        plain = PlainMemory()
        plain.frozen = {"get"}
        cache = AsyncHybridCache(distributed_cache=plain, distributed_timeout_seconds=0.05)
        async with cache:
            assert await cache.get_or_set("k", loader(1)) == 1
            assert cache.stats().distributed.breaker_opened == 1

    asyncio.run(scenario())


def test_very_many_keys_are_deleted_a_few_at_a_time() -> None:
    class Narrow(PlainMemory):
        """Like the pool of a client."""

        deletes = most = 0

        async def delete(self, key: str) -> None:
            self.deletes += 1
            self.most = max(self.most, self.deletes)
            await asyncio.sleep(0.01)
            await super().delete(key)
            self.deletes -= 1

    async def scenario() -> None:
        plain = Narrow()
        async with AsyncHybridCache(distributed_cache=plain) as cache:  # which gives a call half a second
            await cache.set("1999", 1)
            await cache.remove(*map(str, range(2000)))
            assert not plain.entries
            assert plain.most <= 32
            assert cache.stats().distributed.state == "up"

    asyncio.run(scenario())


def test_a_publisher_deletes_there_too() -> None:
    async def scenario() -> None:
        values: dict[str, object] = {}
        (cache,) = pair(PlainMemory(values), name="plain-publisher")
        publisher = InvalidationPublisher(
            invalidation_bus=InvalidationBus(lambda: ScriptedLog("plain-publisher")),
            new_distributed_cache=lambda: PlainMemory(values),
        )
        async with cache, publisher:
            await cache.set("k", 1)
            await publisher.remove("k")
            assert not PlainMemory(values).entries
            await cache.set("k", 2)
            await publisher.clear(scope="default")
            async with instance(PlainMemory(values), "plain-publisher", replay_records=0) as late:
                assert await late.get("k") is None

    asyncio.run(scenario())


def test_keys_are_short_and_of_plain_ascii_and_never_run_together() -> None:
    names = ["", "a", ":", "a:b", "%", "%3A", "=", "key with spaces\n", "ключ", "\ud800", "k" * 300, "ж" * 200]
    keys = {entry_key((scope, key)) for scope in names for key in names}
    keys |= {generation_key(scope) for scope in [None, *names]}
    assert len(keys) == len(names) ** 2 + len(names) + 1
    for key in keys:
        assert len(key) <= 200
        assert key.isascii()
        assert key.isprintable()
        assert " " not in key


class Lacks:
    async def get(self, key: str) -> object | None: ...

    async def delete(self, key: str) -> None: ...


class Sync(Lacks):
    def set(self, key: str, value: object, ttl_seconds: float) -> None: ...


class OtherSignature(Lacks):
    async def set(self, key: str, value: object, ttl: float) -> None: ...


class NearlyWhole(Lacks):
    serializer = JsonSerializer()

    async def fill(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Lacks(), r"Lacks lacks set; it needs async get\(key\), set\(key, value, ttl_seconds\) and delete\(key\)"),
        (Sync(), "Sync.set must be an 'async def'"),
        (OtherSignature(), r"OtherSignature.set cannot be called as it will be \(missing .* 'ttl'\)"),
        (NearlyWhole(), "NearlyWhole is no whole DistributedCache; it lacks open, close, lease, release, clear"),
        (Redis(), r"a DistributedCache object, not Redis; use RedisDistributedCache\(redis\)$"),
        (NATS(), r"a DistributedCache object, not Client; use NatsKVDistributedCache\(servers\)$"),
        (PlainMemory, "must be a DistributedCache object, not the class PlainMemory"),
        (object(), "must be a DistributedCache object, not object"),
        ("redis://", "for a URL use"),
    ],
)
def test_what_cannot_be_one_is_told_what_is_missing(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AsyncHybridCache(distributed_cache=given)


def test_a_bare_client_is_no_bus() -> None:
    with pytest.raises(ConfigurationError, match=r"not Redis; use RedisStreamsInvalidationBus\(redis\)$"):
        AsyncHybridCache(invalidation_bus=Redis())  # type: ignore[arg-type]


def test_a_decorated_method_is_one() -> None:
    def traced(function: Any) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

        return call

    class Traced(PlainMemory):
        set = traced(PlainMemory.set)  # type: ignore[assignment]

    async def scenario() -> None:
        plain = Traced()
        async with AsyncHybridCache(distributed_cache=plain) as cache:
            await cache.set("k", 1)
            assert plain.entries

    asyncio.run(scenario())


def test_a_relay_is_told_at_once_of_an_l2_that_cannot_be_used() -> None:
    async def scenario() -> None:
        unusable: Any = Lacks()
        publisher = InvalidationPublisher(
            invalidation_bus=InvalidationBus(lambda: ScriptedLog("plain-relay")), new_distributed_cache=lambda: unusable
        )
        with pytest.raises(ConfigurationError, match="Lacks lacks set"):
            await OutboxRelay(PostgresOutbox("postgresql://nobody@localhost/none"), publisher).start()

    asyncio.run(scenario())
