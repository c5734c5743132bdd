"""Configurations: files, mappings and what is refused."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache import AsyncHybridCache, CacheOptions, ConfigurationError
from async_hybrid_cache.config import Configuration, read_configuration

SECRET = "geheim"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("ASYNC_HYBRID_CACHE_")]:
        monkeypatch.delenv(name)


def toml(folder: Path, text: str) -> Path:
    file = folder / "cache.toml"
    file.write_text(text)
    return file


def refusal(source: Any) -> str:
    """What the error says; nothing that is printed with it may hold the secret."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncHybridCache.from_config(source)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_nothing_is_a_cache_of_one_process() -> None:
    config = read_configuration()
    assert (config.bus, config.new_distributed_cache(), config.options) == (None, None, CacheOptions())
    assert AsyncHybridCache.from_config({}).stats().stream is None


def test_a_file_says_everything(tmp_path: Path) -> None:
    config = read_configuration(
        toml(
            tmp_path,
            """
            bus = "memory://lot"
            l2 = "sqlite:///l2.db"
            namespace = "shop"
            require_bus = true
            lease_seconds = 3
            distributed_timeout_seconds = 0.25

            [options]
            ttl_seconds = 30
            hard_timeout_seconds = "none"
            copy_on_hit = false

            [scopes.users]
            lru_max_keys = 50

            [scopes."shop.models:load"]
            ttl_seconds = 1.5

            [stream]
            instance_id = "web"
            heartbeat_seconds = 2
            """,
        )
    )
    assert repr(config.bus) == "MemoryInvalidationBus(MemoryLog('shop/lot'))"
    assert "l2-shop.db" in repr(config.new_distributed_cache())
    assert config.options == CacheOptions(ttl_seconds=30, hard_timeout_seconds=None, copy_on_hit=False)
    assert config.scopes == {
        "users": CacheOptions(lru_max_keys=50),
        "shop.models:load": CacheOptions(ttl_seconds=1.5),
    }
    assert config.others == {"require_bus": True, "lease_seconds": 3.0, "distributed_timeout_seconds": 0.25}
    assert config.bus is not None
    assert config.bus.stream_options.instance_id == "web"
    assert config.bus.stream_options.heartbeat_seconds == 2


def test_options_of_scopes_reach_their_scopes() -> None:
    cache = AsyncHybridCache.from_config(
        {"options": {"ttl_seconds": 30}, "scopes": {"users": {"ttl_seconds": 7, "lru_max_keys": 3}}}
    )
    users, others = cache.scope_state("users").options, cache.scope_state("others").options
    assert (users.ttl_seconds, users.lru_max_keys) == (7, 3)
    assert (others.ttl_seconds, others.lru_max_keys) == (30, 10_000)


def test_a_function_can_be_given_in_code_alone(tmp_path: Path) -> None:
    config = read_configuration({"options": {"fail_safe_on": callable}})
    assert config.options.fail_safe_on is callable
    told = refusal(toml(tmp_path, 'options.fail_safe_on = "always"'))
    assert told == f"options.fail_safe_on is a function and can be given in code only (in {tmp_path}/cache.toml)"


def test_checkpoints_are_named_by_a_url(tmp_path: Path) -> None:
    stream = {"instance_id": "web", "checkpoints": f"file://{tmp_path}/kept"}
    config = read_configuration({"bus": "memory://", "stream": stream})
    assert config.bus is not None
    assert config.bus.stream_options.checkpoints is not None


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        ({"buss": 1}, "no key buss is known; did you mean bus?"),
        ({"option": 1}, "no key option is known; did you mean options?"),
        ({"options": {"ttl": 1}}, "no key options.ttl is known; did you mean options.ttl_seconds?"),
        ({"stream": {"instance": 1}}, "no key stream.instance is known; did you mean stream.instance_id?"),
        ({"scopes": {"u": {"ttl": 1}}}, "no key scopes.u.ttl is known; did you mean scopes.u.ttl_seconds?"),
        ({"options": {"ttl_seconds": "5"}}, "options.ttl_seconds must be a number, not text"),
        ({"options": {"ttl_seconds": True}}, "options.ttl_seconds must be a number, not true or false"),
        ({"options": {"ttl_seconds": -5}}, "options.ttl_seconds must be a number of at least 0, not -5.0"),
        ({"options": {"ttl_seconds": float("nan")}}, "options.ttl_seconds must be a number of at least 0, and finite"),
        ({"options": {"lru_max_keys": 1.5}}, "options.lru_max_keys must be a whole number or 'none', not a number"),
        ({"scopes": {"u": {"lru_max_keys": -1}}}, "scopes.u.lru_max_keys must be a whole number of at least 0"),
        ({"stream": {"heartbeat_seconds": 0}}, "stream.heartbeat_seconds must be a number above 0, not 0.0"),
        ({"require_bus": 1}, "require_bus must be true or false, not a whole number"),
        ({"lease_seconds": 0}, "lease_seconds must be a number above 0, not 0.0"),
        ({"namespace": 7}, "namespace must be text, not a whole number"),
        ({"bus": ""}, "bus is empty; leave it out for its default"),
        ({"bus": ["memory://"]}, "bus must be text, not list"),
        ({"bus": "nonsense"}, "bus: a broker URL has the form 'scheme://...'"),
        ({"bus": "amqp://h"}, "bus: no broker for the scheme 'amqp'; installed: "),
        ({"l2": "memory://"}, "l2: memory:// holds no values; leave l2 out or name another"),
        ({"options": 5}, "options must be a table, not int"),
        ({"scopes": {"users": 5}}, "scopes.users must be a table of options"),
    ],
    ids=lambda case: str(case)[:50],
)
def test_what_cannot_be_used_is_named_with_the_fix(mapping: dict[str, Any], told: str) -> None:
    message = refusal(mapping)
    assert message.startswith(told)
    assert message.endswith("(in the mapping)")


def test_everything_wrong_is_told_at_once() -> None:
    told = refusal({"buss": 1, "l2": "x", "options": {"ttl_seconds": "1", "jitter_seconds": -1}})
    assert [line.partition(" ")[0] for line in told.splitlines()] == [
        "no",
        "options.ttl_seconds",
        "options.jitter_seconds",
        "l2:",
    ]


@pytest.mark.parametrize(
    "mapping",
    [
        {"bus": f"redis://u:{SECRET}@h:99999"},
        {"bus": f"redis://u:{SECRET}/x@h/nodb"},
        {"l2": f"redis://u:{SECRET}@[h"},
        {"bus": f"redis://u:{SECRET}\u2100@h"},
        {"bus": f"sqlite://u:{SECRET}@h/x.db"},
        {"bus": f"amqp://u:{SECRET}@h"},
        {"buss": f"redis://u:{SECRET}@h"},
        {f"redis://u:{SECRET}@h": 1},
        {"options": {"ttl_seconds": SECRET}},
        {"options": {SECRET + "@": 1}},
        {"scopes": {f"x:{SECRET}": {"lru_max_keys": SECRET}}},
        {"stream": {"checkpoints": f"redis://u:{SECRET}@h:99999", "instance_id": "a"}},
        {"stream": {"checkpoints": f"{SECRET}"}},
        {"namespace": [SECRET]},
        f"redis://u:{SECRET}@h",
    ],
    ids=range(15),
)
def test_no_error_repeats_a_credential(mapping: Any) -> None:
    refusal(mapping)


@pytest.mark.parametrize("url", [f"redis://u:{SECRET}\u2100@h", f"redis://u:{SECRET}@[h", f"redis://u:{SECRET}@h:x"])
def test_no_error_of_a_url_in_code_repeats_a_credential(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncHybridCache.from_url(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_configuration_shows_no_credential(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"redis://u:{SECRET}@h/0"
    config = read_configuration({"bus": url, "l2": url})
    assert "RedisStreamsLog" in repr(config)
    assert SECRET not in repr(config) + repr(AsyncHybridCache.from_config({"bus": url})) + caplog.text


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"options = {", "is not valid TOML"),
        (f'bus = "redis://u:{SECRET}@h'.encode(), "is not valid TOML"),
        (b'bus = "\xff"', "is not valid TOML: not UTF-8"),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "cache.toml"
    file.write_bytes(content)
    message = refusal(file)
    assert str(file) in message
    assert told in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path / "none.toml") == f"the file '{tmp_path}/none.toml' cannot be read: No such file or directory"
    )
    assert "cannot be read: Is a directory" in refusal(tmp_path)


def test_something_else_is_no_source() -> None:
    told = "the configuration is no path of a file, mapping or None; for a URL use from_url(...)"
    assert refusal(5) == refusal(f"redis://u:{SECRET}@h") == refusal("a\0b") == told


def test_what_a_program_has_none_of_may_be_given_as_none() -> None:
    config = read_configuration({"bus": None, "l2": None, "stream": {"checkpoints": None, "instance_id": None}})
    assert config.bus is None
    assert config.new_distributed_cache() is None


def test_what_a_configuration_documents_is_what_it_takes() -> None:
    from async_hybrid_cache.config.keys import SECTIONS
    from docs.generate import rows

    assert [row.name for row in rows(Configuration)] == list(SECTIONS[""])
