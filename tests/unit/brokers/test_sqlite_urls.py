from __future__ import annotations

from pathlib import Path

import pytest

from async_hybrid_cache.errors import ConfigurationError
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache_brokers.sqlite import BROKER, SqliteLog


@pytest.mark.parametrize(
    ("url", "namespace", "path"),
    [
        ("sqlite:///cache.db", "ahc", "{here}/cache.db"),
        ("sqlite:///data/cache.db", "", "{here}/data/cache.db"),
        ("sqlite:////var/lib/cache.db", "ahc", "/var/lib/cache.db"),
        ("sqlite:////var/lib/cache.db", "shop", "/var/lib/cache-shop.db"),
        ("sqlite:////var/lib/cache", "shop", "/var/lib/cache-shop"),
        ("sqlite:////var/my%20app/50%25%3F%23.db", "ahc", "/var/my app/50%?#.db"),
        ("sqlite:////x.db?retention_records=5&retention_seconds=0.5", "ahc", "/x.db"),
    ],
)
def test_urls(url: str, namespace: str, path: str) -> None:
    expected = path.format(here=Path.cwd())
    bus = BROKER.bus(url, namespace=namespace, stream=None)
    assert repr(bus) == f"SqliteInvalidationBus(SqliteLog({expected!r}))"
    cache = BROKER.distributed_cache(url, namespace=namespace)
    assert repr(cache) == f"SqliteDistributedCache({expected!r})"


def test_the_query_sets_the_retention() -> None:
    log = BROKER.bus("sqlite:////x.db?retention_records=5&retention_seconds=0.5", namespace="", stream=None).new_log()
    assert isinstance(log, SqliteLog)
    assert (log._retention_records, log._retention_seconds) == (5, 0.5)


@pytest.mark.parametrize(
    ("url", "namespace", "message"),
    [
        ("sqlite://user:secret@host/x.db", "ahc", "three slashes.*four"),
        ("sqlite://x.db", "ahc", "three slashes.*four"),
        ("sqlite://", "ahc", "three slashes.*four"),
        ("sqlite:///", "ahc", "three slashes.*four"),
        ("sqlite:///a#b.db", "ahc", "%23"),
        ("sqlite:///:memory:", "ahc", "memory://"),
        ("sqlite:///:memory:", "shop", "memory://"),
        ("sqlite:///x.db?retention_record=5", "ahc", "'retention_record'.*mean 'retention_records'"),
        ("sqlite:///x.db?zzz=5", "ahc", "'zzz'"),
        ("sqlite:///x.db?retention_records=many", "ahc", "retention_records must be a number, not 'many'"),
        ("sqlite:///x.db?retention_seconds=nan", "ahc", "retention_seconds"),
        ("sqlite:///x.db", "../up", "namespace"),
    ],
)
def test_bad_urls(url: str, namespace: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        BROKER.bus(url, namespace=namespace, stream=None)
    assert "secret" not in str(caught.value)


def test_the_broker_is_found_by_its_scheme() -> None:
    assert find_broker("sqlite:///x.db") is BROKER
