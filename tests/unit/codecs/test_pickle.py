"""Signed pickle: nothing is unpickled that was not signed with one of the keys."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import random
from pathlib import Path
from typing import Any

import pytest

from async_hybrid_cache_codecs import CacheError, DecodeError, EncodeError, PickleSerializer

KEY = "correct horse battery staple"
OTHER = b"another key of many bytes"


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("value", [None, (1, {2, 3}), {"a": 1j}, Path("x"), [b"\x00" * 100_000]], ids=str)
@pytest.mark.parametrize("protocol", [2, 5])
def test_any_picklable_value_comes_back(value: Any, protocol: int) -> None:
    serializer = PickleSerializer(KEY, protocol=protocol)
    assert serializer.loads(serializer.dumps(value)) == value


def test_the_layout_is_version_signature_pickle() -> None:
    data = PickleSerializer(KEY).dumps([1])
    payload = pickle.dumps([1], 5)
    assert data == b"\x01" + hmac.new(KEY.encode(), b"\x01" + payload, hashlib.sha256).digest() + payload
    assert PickleSerializer(KEY.encode()).loads(data) == [1]


def test_nothing_unsigned_is_unpickled(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    payload = pickle.dumps(Trap(sprung))
    signed = PickleSerializer(KEY).dumps(Trap(sprung))
    weak = hmac.digest(KEY.encode(), payload, "md5")
    forged = [
        payload,
        b"\x01" + payload,
        b"\x01" + bytes(32) + payload,
        b"\x01" + hashlib.sha256(b"\x01" + payload).digest() + payload,
        b"\x02" + signed[1:],
        b"\x01" + hmac.digest(KEY.encode(), payload, "sha256") + payload,
        b"\x01" + weak + payload,
        b"md5:" + weak.hex().encode() + b":" + payload,
        b"sha1:" + hmac.digest(KEY.encode(), payload, "sha1").hex().encode() + b":" + payload,
        PickleSerializer(OTHER).dumps(Trap(sprung)),
    ]
    serializer = PickleSerializer(KEY)
    for data in forged:
        with pytest.raises(DecodeError):
            serializer.loads(data)
    assert not sprung.exists()
    serializer.loads(signed)
    assert sprung.exists()  # the trap is a real one


def test_no_byte_can_be_changed_dropped_or_added() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    serializer = PickleSerializer(KEY)
    data = serializer.dumps({"a": [1, 2.5, "three"]})
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= chance.randint(1, 255)
        for bad in (bytes(changed), data[:at], data[:at] + data[at + 1 :]):
            with pytest.raises(DecodeError):
                serializer.loads(bad)
    for bad in (data + b"\x00", data + data, None, 5, "text"):
        with pytest.raises(DecodeError):
            serializer.loads(bad)  # type: ignore[arg-type]


def test_keys_are_rotated_without_losing_what_the_old_one_signed() -> None:
    old, rotating, new = PickleSerializer(OTHER), PickleSerializer(KEY, previous_keys=[OTHER]), PickleSerializer(KEY)
    assert rotating.loads(old.dumps(1)) == 1
    assert new.loads(rotating.dumps(1)) == 1
    with pytest.raises(DecodeError):
        old.loads(rotating.dumps(1))
    with pytest.raises(DecodeError):
        new.loads(old.dumps(1))


def test_a_signed_pickle_of_something_that_no_longer_exists_is_a_decode_error() -> None:
    serializer = PickleSerializer(KEY)
    payload = b"cno_such_module\nno_such_name\n."
    signature = hmac.digest(KEY.encode(), b"\x01" + payload, "sha256")
    with pytest.raises(DecodeError):
        serializer.loads(b"\x01" + signature + payload)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [lambda: None, nested(100_000), (n for n in ())], ids=["lambda", "deep", "generator"])
def test_dumps_raises_nothing_but_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match="PickleSerializer cannot take"):
        PickleSerializer(KEY).dumps(value)


@pytest.mark.parametrize("key", ["", "hunter2", b"15 bytes, short", None, 5, bytearray(32)])
def test_a_key_that_cannot_be_used_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(CacheError, match=r"^key: ") as caught:
        PickleSerializer(key)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(CacheError, match=r"^previous_keys: "):
        PickleSerializer(KEY, previous_keys=[key])


def test_other_arguments_are_checked_when_it_is_made() -> None:
    with pytest.raises(CacheError, match="previous_keys"):
        PickleSerializer(KEY, previous_keys=KEY)
    for protocol in (-1, 99, "5", None):
        with pytest.raises(CacheError, match="protocol"):
            PickleSerializer(KEY, protocol=protocol)  # type: ignore[arg-type]


def test_the_key_is_not_shown() -> None:
    serializer = PickleSerializer(KEY, previous_keys=[OTHER])
    assert repr(serializer) == str(serializer) == "PickleSerializer()"
