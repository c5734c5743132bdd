"""Configurations from the environment, and what of it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from async_hybrid_cache import CacheOptions, ConfigurationError
from async_hybrid_cache.config import read_configuration

Variables = Callable[..., None]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Sets variables by the end of their names, and no others."""
    import os

    for name in [name for name in os.environ if name.startswith("ASYNC_HYBRID_CACHE_")]:
        monkeypatch.delenv(name)

    def set_them(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"ASYNC_HYBRID_CACHE_{name}", value)

    return set_them


def test_text_becomes_what_the_option_is(variables: Variables) -> None:
    variables(
        BUS="memory://lot",
        NAMESPACE="shop",
        REQUIRE_BUS="true",
        LEASE_SECONDS="3",
        OPTIONS__TTL_SECONDS="1.5",
        OPTIONS__LRU_MAX_KEYS="none",
        OPTIONS__COPY_ON_HIT="0",
        STREAM__INSTANCE_ID="none",
        STREAM__REPLAY_RECORDS="7",
    )
    config = read_configuration()
    assert repr(config.bus) == "MemoryInvalidationBus(MemoryLog('shop/lot'))"
    assert config.options == CacheOptions(ttl_seconds=1.5, lru_max_keys=None, copy_on_hit=False)
    assert config.others == {"require_bus": True, "lease_seconds": 3.0}
    assert config.bus is not None
    assert config.bus.stream_options.instance_id == "none"
    assert config.bus.stream_options.replay_records == 7


def test_the_environment_overrides_a_file(variables: Variables, tmp_path: Path) -> None:
    file = tmp_path / "cache.toml"
    file.write_text('bus = "memory://file"\n[options]\nttl_seconds = 9\njitter_seconds = 1\n')
    variables(CONFIG=str(file), BUS="memory://environment", OPTIONS__TTL_SECONDS="8")
    for config in (read_configuration(), read_configuration(file), read_configuration(str(file))):
        assert repr(config.bus) == "MemoryInvalidationBus(MemoryLog('environment'))"
        assert config.options == CacheOptions(ttl_seconds=8, jitter_seconds=1)


def test_a_path_in_code_goes_before_the_one_in_the_environment(variables: Variables, tmp_path: Path) -> None:
    file = tmp_path / "cache.toml"
    file.write_text('bus = "memory://file"')
    variables(CONFIG="/nowhere")
    assert read_configuration(file).bus is not None
    with pytest.raises(ConfigurationError, match="'/nowhere' named by ASYNC_HYBRID_CACHE_CONFIG cannot be read"):
        read_configuration()


def test_a_mapping_is_taken_as_it_is(variables: Variables) -> None:
    variables(BUS="memory://environment", NONSENSE="1")
    assert read_configuration({}).bus is None


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "BUSS",
            "geheim",
            "no variable ASYNC_HYBRID_CACHE_BUSS in the environment is known; did you mean ASYNC_HYBRID_CACHE_BUS?",
        ),
        ("OPTIONS__TTL", "5", "did you mean ASYNC_HYBRID_CACHE_OPTIONS__TTL_SECONDS?"),
        ("options__ttl_seconds", "5", "did you mean ASYNC_HYBRID_CACHE_OPTIONS__TTL_SECONDS?"),
        ("CONFIGS", "geheim", "did you mean ASYNC_HYBRID_CACHE_CONFIG?"),
        ("OPTIONS__FAIL_SAFE_ON", "f", "no variable ASYNC_HYBRID_CACHE_OPTIONS__FAIL_SAFE_ON in the environment"),
        ("SCOPES__USERS__TTL_SECONDS", "5", "no variable ASYNC_HYBRID_CACHE_SCOPES__USERS__TTL_SECONDS in the"),
        (
            "OPTIONS__TTL_SECONDS",
            "geheim",
            "options.ttl_seconds must be a number (ASYNC_HYBRID_CACHE_OPTIONS__TTL_SECONDS)",
        ),
        ("OPTIONS__LRU_MAX_KEYS", "1.5", "options.lru_max_keys must be a whole number or 'none' (ASYNC_"),
        ("OPTIONS__ON_STALE", "geheim", "options.on_stale must be 'load' or 'raise' or 'serve' (ASYNC_"),
        ("REQUIRE_BUS", "yes", "require_bus must be true or false (ASYNC_HYBRID_CACHE_REQUIRE_BUS)"),
        ("LEASE_SECONDS", "-1", "lease_seconds must be a number above 0, not -1.0 (ASYNC_HYBRID_CACHE_LEASE_SECONDS)"),
        ("BUS", "", "bus is empty; leave it out for its default (ASYNC_HYBRID_CACHE_BUS)"),
        ("BUS", "redis://u:geheim@h:0", "bus: the port of the redis:// URL is not one of 1 to 65535"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_fix(variables: Variables, name: str, value: str, told: str) -> None:
    variables(**{name: value})
    with pytest.raises(ConfigurationError) as caught:
        read_configuration()
    assert told in str(caught.value)
    assert "geheim" not in str(caught.value)
