"""Whatever a user gets wrong is one clear error of ours, which names the fix and never a credential."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from async_hybrid_cache import (
    AsyncHybridCache,
    CacheClosed,
    CacheError,
    CacheOptions,
    ConfigurationError,
    LogUnavailable,
    StreamOptions,
)
from tests.servers.ports import LOOPBACK, free_port
from tests.servers.valkey import ValkeyServer

SECRET = "geheim"


def told(error: BaseException) -> str:
    """All that a log would show of the error: the messages of its whole chain."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("", "scheme://"),
        ("localhost:6379", "scheme://"),
        ("redis:/localhost", "scheme://"),
        (f"bogus://user:{SECRET}@host/0", "installed: kafka, kafkas, memory, nats, "),
        (f"redis://user:{SECRET}@[::1", "cannot be parsed; check host, port and brackets"),
        (f"redis://user:{SECRET}@host:99999/0", "port"),
        (f"redis://user:{SECRET}@host:port/0", "port"),
        (f"redis://user:{SECRET}@host/users", "database"),
        (f"redis://user:{SECRET}#more@host/0", "percent-encode"),
        (f"redis://user:{SECRET}/more@host/0", "percent-encode"),
        (f"redis://user:{SECRET}@host/0?timeout=3", "unknown option 'timeout'"),
        (f"rediss://user:{SECRET}@host/0?ssl_cert_reqs={SECRET}", "none, optional or required"),
        ("unix://", "names no socket"),
        ("sqlite://cache.db", "sqlite:///relative.db (three slashes)"),
        ("sqlite:///", "sqlite:////absolute/path.db (four)"),
        ("sqlite:///cache.db?retention_record=5", "did you mean 'retention_records'"),
        ("sqlite:///cache.db?retention_records=many", "retention_records must be a"),
    ],
)
def test_urls(url: str, fix: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        AsyncHybridCache.from_url(url)
    assert fix in str(refused.value)
    assert SECRET not in told(refused.value)


@pytest.mark.parametrize("option", ["ttl_seconds", "fail_safe_seconds", "fail_safe_throttle_seconds", "jitter_seconds"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "60", True, None])
def test_seconds(option: str, value: object) -> None:
    refused(lambda: CacheOptions(**{option: value}), option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hard_timeout_seconds", 0),
        ("hard_timeout_seconds", -1),
        ("hard_timeout_seconds", float("nan")),
        ("hard_timeout_seconds", "5"),
        ("lru_max_keys", -1),
        ("lru_max_keys", 1.5),
        ("lru_max_keys", True),
        ("lru_max_keys", "1000"),
        ("fail_safe_on", 500),
        ("copy_on_hit", "yes"),
    ],
)
def test_cache_options(option: str, value: object) -> None:
    refused(lambda: CacheOptions(**{option: value}), option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("options", {"ttl_seconds": 60}),
        ("invalidation_bus", "redis://localhost"),
        ("distributed_timeout_seconds", 0),
        ("lease_seconds", -1),
    ],
)
def test_arguments_of_the_cache(option: str, value: object) -> None:
    arguments: dict[str, Any] = {option: value}
    if option != "invalidation_bus":
        refused(lambda: AsyncHybridCache.from_url("memory://", **arguments), option)
    refused(lambda: AsyncHybridCache(**arguments), option)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("checkpoint_seconds", 0),
        ("outbox_max_events", 0),
        ("frame_max_bytes", 1_000_000),
        ("frame_max_events", 1.5),
        ("proof_seconds", float("nan")),
        ("retry_max_seconds", -1),
        ("replay_records", -1),
    ],
)
def test_stream_options(option: str, value: object) -> None:
    arguments: dict[str, Any] = {option: value}
    refused(lambda: StreamOptions(**arguments), option)


def refused(call: Callable[[], object], option: str) -> None:
    """The call is refused with an error of ours that names the option."""
    with pytest.raises(ConfigurationError, match=option):
        call()


def test_a_closed_cache() -> None:
    cache = AsyncHybridCache.from_url("memory://")

    async def load() -> str:
        return "loaded"

    cached = cache.cached("key")(load)

    async def use() -> None:
        async with cache:
            assert await cached() == "loaded"
        for call in (
            cached,
            cached.remove_cached,
            lambda: cached.set_cached("x"),
            cached.refresh_cached,
            lambda: cache.get("key"),
            lambda: cache.get_or_set("key", load),
            lambda: cache.set("key", 1),
            lambda: cache.remove("key"),
            cache.clear,
        ):
            with pytest.raises(CacheClosed, match=r"call start\(\) to use it again"):
                await call()
        await cache.stop()
        async with cache:
            assert await cached() == "loaded"

    asyncio.run(use())


def test_a_cache_in_a_second_running_loop_says_what_to_do() -> None:
    cache = AsyncHybridCache.from_url("memory://")

    async def elsewhere() -> None:
        with pytest.raises(CacheClosed, match="build a cache for each loop"):
            await cache.get("key")

    async def use() -> None:
        async with cache:
            await asyncio.to_thread(asyncio.run, elsewhere())

    asyncio.run(use())


def test_a_server_that_is_away_is_named_without_its_credentials(caplog: pytest.LogCaptureFixture) -> None:
    check_unusable(f"redis://user:{SECRET}@{LOOPBACK}:{free_port()}/0", LogUnavailable, caplog)


def test_a_refused_password_is_not_repeated(own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    check_unusable(own_valkey.url.replace("//", f"//nobody:{SECRET}@"), CacheError, caplog)


def check_unusable(url: str, kind: type[CacheError], caplog: pytest.LogCaptureFixture) -> None:
    """A cache that needs its bus refuses to start; one that does not serves on, says why, and tells no secret."""
    caplog.set_level(logging.DEBUG)

    async def use() -> str:
        strict = AsyncHybridCache.from_url(url, require_bus=True)
        with pytest.raises(kind, match="check its URL and server") as refused:
            await strict.start()
        async with AsyncHybridCache.from_url(url) as cache:

            async def load() -> str:
                return "loaded"

            assert await cache.get_or_set("key", load) == "loaded"
            receipt = await cache.remove("key")
            assert receipt.queued
            assert cache.health().status == "degraded"
            return told(refused.value) + repr((strict, cache, cache.stats(), cache.health()))

    shown = asyncio.run(use())
    assert SECRET not in shown
    assert SECRET not in caplog.text
    assert caplog.records
