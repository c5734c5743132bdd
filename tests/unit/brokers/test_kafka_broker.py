"""From URLs and arguments to buses: what is used, what is refused, and that no credential shows."""

from __future__ import annotations

import ssl
import traceback
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.errors import ConfigurationError
from async_hybrid_cache.registry import find_broker
from async_hybrid_cache_brokers.kafka import BROKER, KafkaInvalidationBus, KafkaLog
from async_hybrid_cache_brokers.kafka.access import Access, Address
from tests.servers.certificates import Certificates

REFUSED = [
    ("kafka://", "no server"),
    ("kafka://user:s3cret@", "no server"),
    ("kafka://host:70000", "port"),
    ("kafka://host:0", "port"),
    ("kafka://host:x", "host:port"),
    ("kafka://host:1,", "host:port"),
    ("kafka://user:s3cret@host 1", "host:port"),
    ("kafka://user:s3/cret@host", "path"),
    ("kafka://user:s3?cret@host", "no option"),
    ("kafka://user:s3#cret@host", "fragment"),
    ("kafka://user:s3@cret@host", "login"),
    ("kafka://user:s3:cret@host", "login"),
    ("kafka://s3cret@host", "login"),
    ("kafka://:s3cret@host", "login"),
    ("kafka://user:s3cret@host/topic", "path"),
    ("kafka://user:s3cret@host?sasl_mechanism=s3cret", "SCRAM-SHA-512"),
    ("kafka://user:s3cret@host?sasl_mechanism=", "'sasl_mechanism'"),
    ("kafka://host?sasl_mechanism=PLAIN", "username"),
    ("kafka://user:s3cret@host?acks=0", "'acks'"),
    ("kafka://user:s3cret@host?replication_factor=s3cret", "'replication_factor'"),
    ("kafka://user:s3cret@host?replication_factor=0", "replication_factor"),
    ("kafka://user:s3cret@host?retention_seconds=-1", "retention_seconds"),
    ("kafka://user:s3cret@host?ssl_ca_certs=x", "'ssl_ca_certs'"),
    ("kafkas://user:s3cret@host?ssl_check_hostname=s3cret", "'ssl_check_hostname'"),
    ("kafkas://user:s3cret@host?ssl_keyfile=x", "'ssl_certfile'"),
    ("http://user:s3cret@host", "kafka://"),
]


@pytest.mark.parametrize(("url", "part"), REFUSED)
def test_a_url_that_cannot_be_used_is_refused_by_its_part(url: str, part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        BROKER.bus(url, namespace="n", stream=None)
    assert "cret" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None


def test_a_file_that_is_not_there_is_named_by_its_option() -> None:
    with pytest.raises(ConfigurationError, match="ssl_ca_certs"):
        BROKER.bus("kafkas://host?ssl_ca_certs=/nowhere.pem", namespace="n", stream=None)


def access(url: str) -> Access:
    log = BROKER.bus(url, namespace="n", stream=None).new_log()
    assert isinstance(log, KafkaLog)
    assert repr(log) == "KafkaLog('n.invalidation')"
    return log._access


def test_servers_and_login_come_out_of_the_url() -> None:
    assert access("kafka://h1") == Access((Address("h1", 9092),))
    assert access("kafka://h1:1,h-2.example,[::1]:3/").servers == (("h1", 1), ("h-2.example", 9092), ("::1", 3))
    login = access("kafka://us%40er:s3%2Fcr%3Aet@h1,h2?sasl_mechanism=SCRAM-SHA-512")
    assert (login.username, login.password, login.sasl_mechanism) == ("us@er", "s3/cr:et", "SCRAM-SHA-512")
    assert login.options["security_protocol"] == "SASL_PLAINTEXT"
    assert "s3" not in repr(login)
    assert access("kafka://user:s3cret@h1").sasl_mechanism == "PLAIN"


def test_tls_is_verified_unless_told_otherwise(tmp_path: Path) -> None:
    context = access("kafkas://h1").ssl_context
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    made = Certificates(tmp_path)
    files = f"ssl_ca_certs={made.authority}&ssl_certfile={made.client_certificate}&ssl_keyfile={made.client_key}"
    own = access(f"kafkas://user:s3cret@h1?{files}&ssl_check_hostname=false")
    assert own.ssl_context is not None
    assert (own.ssl_context.verify_mode, own.ssl_context.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert len(own.ssl_context.get_ca_certs()) == 1
    assert own.options["security_protocol"] == "SASL_SSL"
    assert access("kafkas://h1").options["security_protocol"] == "SSL"


def test_the_broker_is_found_and_has_no_l2_and_no_checkpoints() -> None:
    for scheme in ("kafka", "kafkas"):
        assert find_broker(f"{scheme}://host") is BROKER
    stream = StreamOptions(instance_id="me")
    bus = BROKER.bus("kafka://host?retention_seconds=60&replication_factor=1", namespace="shop", stream=stream)
    assert bus.stream_options is stream
    assert "shop.invalidation" in repr(bus)
    assert BROKER.distributed_cache("kafka://host", namespace="n") is None
    assert BROKER.checkpoints("kafka://host", namespace="n") is None


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"bootstrap_servers": []}, "no server"),
        ({"bootstrap_servers": None}, "bootstrap_servers"),
        ({"bootstrap_servers": [9092]}, "host:port"),
        ({"bootstrap_servers": "user:s3cret@host"}, "host:port"),
        ({"topic": "a topic"}, "topic"),
        ({"topic": ".."}, "topic"),
        ({"topic": "x" * 250}, "topic"),
        ({"replication_factor": 0}, "replication_factor"),
        ({"retention_seconds": 0}, "retention_seconds"),
        ({"username": "user"}, "password"),
        ({"password": "s3cret"}, "username"),
        ({"username": "user", "password": "s3cret", "sasl_mechanism": "GSSAPI"}, "SCRAM-SHA-256"),
        ({"ssl_context": True}, "ssl_context"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigurationError, match=part) as caught:
        KafkaInvalidationBus(**{"bootstrap_servers": "host", **arguments})
    assert "s3cret" not in str(caught.value)


def test_a_bus_touches_neither_network_nor_loop_and_shows_no_credential() -> None:
    bus = KafkaInvalidationBus(["h1:1", "h2"], username="user", password="s3cret")
    assert repr(bus) == "KafkaInvalidationBus(KafkaLog('ahc.invalidation'))"
    first, second = bus.new_log(), bus.new_log()
    assert first is not second
