"""Wire version 1, as released: every frame of it stays readable, and nothing else is read."""

from __future__ import annotations

import random
import re
from pathlib import Path

import msgspec
import pytest

from async_hybrid_cache_codecs import DecodeError, EncodeError
from async_hybrid_cache_codecs.events import (
    CacheCleared,
    ChangeEnded,
    Event,
    InstanceSeen,
    InstanceStarted,
    InstanceStopped,
    KeysChanging,
    KeysExpired,
    KeysRemoved,
    PositionsAsked,
    ScopeCleared,
    TagsInvalidated,
    Unknown,
)
from async_hybrid_cache_codecs.frames import OpenedFrame, open_frame, seal

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[2] / "docs" / "wire-format.md"
ORIGIN = "web-1.00112233445566ff"
AT = 1_700_000_000_000_000_000
GOLDEN = {
    name: bytes.fromhex(data)
    for name, data in (
        line.split() for line in (HERE / "golden" / "v1.hex").read_text().splitlines() if not line.startswith("#")
    )
}
EVENTS: dict[str, Event] = {
    "keys_removed": KeysRemoved("users", ("user:1", "user:2")),
    "keys_expired": KeysExpired("users", ("user:1",)),
    "tags_invalidated": TagsInvalidated(("tenant:7",)),
    "scope_cleared": ScopeCleared("users"),
    "cache_cleared": CacheCleared(),
    "instance_started": InstanceStarted("web-1"),
    "instance_seen": InstanceSeen("web-1", (17, 42), 3),
    "instance_stopped": InstanceStopped("web-1"),
}
LATER: dict[str, Event] = {
    "keys_changing": KeysChanging("00112233445566ff", "users", ("user:1", "user:2"), 30.0),
    "change_ended": ChangeEnded("00112233445566ff"),
    "positions_asked": PositionsAsked(),
    "instance_started_with_bound": InstanceStarted("web-1", bound=10.0),
    "instance_seen_with_bound": InstanceSeen("web-1", (17, 42), 3, bound=10.0),
}
"""What was added to version 1 after the frame of every event was kept."""
REMOVED = EVENTS["keys_removed"]


def frame_with(event: bytes) -> bytes:
    head = {"v": 1, "e": 17, "o": ORIGIN, "f": 1, "at": AT}
    return msgspec.msgpack.encode({**head, "events": [msgspec.Raw(event)]})


def test_every_event_type_has_a_golden_frame() -> None:
    assert {type(event) for event in (EVENTS | LATER).values()} == set(Event.__args__)
    assert (EVENTS | LATER).keys() < GOLDEN.keys()


@pytest.mark.parametrize("name", EVENTS | LATER)
def test_a_golden_frame_is_read_and_written_as_released(name: str) -> None:
    event = (EVENTS | LATER)[name]
    assert open_frame(GOLDEN[name]) == OpenedFrame(17, ORIGIN, 1, AT, (event,))
    assert seal(17, ORIGIN, 1, AT, [event]).data == GOLDEN[name]


def test_a_frame_of_every_event_keeps_their_order_and_is_named_by_their_sequences() -> None:
    sealed = seal(17, ORIGIN, 1, AT, list(EVENTS.values()))
    assert sealed.data == GOLDEN["every_event"]
    assert sealed.id == f"{ORIGIN}:1:8"
    opened = open_frame(sealed.data)
    assert opened.events == tuple(EVENTS.values()) == sealed.events
    assert (opened.first, opened.last) == (sealed.first, sealed.last) == (1, 8)


def test_unknown_fields_are_ignored() -> None:
    assert open_frame(GOLDEN["unknown_fields"]).events == (REMOVED,)


def test_unknown_types_come_out_with_what_they_say_of_themselves() -> None:
    assert open_frame(GOLDEN["unknown_ignorable"]).events == (Unknown("keys_warmed", True),)
    assert open_frame(GOLDEN["unknown_other"]).events == (Unknown("prefix_removed", False),)


def test_any_key_order_and_any_integer_width_is_read() -> None:
    frame = open_frame(GOLDEN["reordered_and_wide"])
    assert frame == OpenedFrame(17, "php", 1, 0, (KeysRemoved("users", ("user:1",)),))


def test_an_invalidation_that_cannot_be_read_is_never_ignorable() -> None:
    broken = msgspec.msgpack.encode({"t": "keys_removed", "scope": 5, "i": True})
    assert open_frame(frame_with(broken)).events == (Unknown("keys_removed", False),)
    broken = msgspec.msgpack.encode({"t": "instance_seen", "lag": "much", "i": True})
    assert open_frame(frame_with(broken)).events == (Unknown("instance_seen", True),)


@pytest.mark.parametrize("name", GOLDEN)
def test_truncated_and_trailing_bytes_are_refused(name: str) -> None:
    data = GOLDEN[name]
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            open_frame(data[:length])
    for tail in (b"\x00", b"\xc0", data):
        with pytest.raises(DecodeError):
            open_frame(data + tail)


HOSTILE = {
    "not msgpack": b"\xc1",
    "not a map": b"\x93\x01\x02\x03",
    "another version": msgspec.msgpack.encode({"v": 2, "e": 1, "o": "x", "f": 1, "at": 0, "events": [{}]}),
    "another version, another layout": msgspec.msgpack.encode({"v": 2, "stuff": 1}),
    "no events": msgspec.msgpack.encode({"v": 1, "e": 1, "o": "x", "f": 1, "at": 0, "events": []}),
    "sequence 0": msgspec.msgpack.encode({"v": 1, "e": 1, "o": "x", "f": 0, "at": 0, "events": [{"t": "a"}]}),
    "an event without a type": frame_with(b"\x80"),
    "an event that is no map": frame_with(b"\x01"),
    "an event with a type that is no text": frame_with(b"\x81\xa1t\x01"),
    "a type that is not UTF-8": frame_with(b"\x81\xa1t\xa1\xff"),
    "a key that is no text": frame_with(b"\x82\xa1t\xa1z\x01\x02"),
    "an origin that is not UTF-8": GOLDEN["cache_cleared"].replace(b"web-1", b"web-\xff"),
    "nested lists": b"\x91" * 100_000,
    "nested maps": b"\x81\xa1a" * 100_000,
    "nested in an event": frame_with(b"\x82\xa1t\xa1z\xa1x" + b"\x91" * 100_000 + b"\xc0"),
    "nested in a known field": frame_with(b"\x82\xa1t\xackeys_removed\xa4keys" + b"\x91" * 100_000 + b"\xc0"),
    "four billion events": GOLDEN["cache_cleared"].replace(b"events\x91", b"events\xdd\xff\xff\xff\xff"),
    "four billion keys": frame_with(b"\x82\xa1t\xackeys_removed\xa4keys\xdd\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        open_frame(HOSTILE[name])


def test_fuzzed_frames_open_or_are_refused_and_nothing_else() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    frames = list(GOLDEN.values())
    opened = refused = 0
    for _ in range(20_000):
        data = bytearray(chance.choice(frames))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    data[at:at] = chance.randbytes(chance.randint(1, 4))
                case 2:
                    del data[at : at + chance.randint(1, 4)]
                case _:
                    data[at:at] = data[: chance.randrange(len(data))]
            data = data or bytearray(b"\x00")
        try:
            frame = open_frame(bytes(data))
        except DecodeError:
            refused += 1
        else:
            opened += 1
            assert frame.first >= 1
            assert frame.events
    assert opened > 100
    assert refused > 1_000


@pytest.mark.parametrize("event", [KeysRemoved("users", ("\ud800",)), InstanceSeen("web-1", (2**64, 1))])
def test_an_event_that_the_format_cannot_carry_is_an_encode_error(event: Event) -> None:
    with pytest.raises(EncodeError, match=type(event).__name__):
        seal(17, ORIGIN, 1, AT, [event])


def test_a_frame_has_at_least_one_event() -> None:
    with pytest.raises(ValueError, match="at least one"):
        seal(17, ORIGIN, 1, AT, [])


def test_the_document_shows_the_golden_frame_byte_for_byte() -> None:
    shown = re.search(r"```hex\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert shown is not None
    hexed = "".join(line.partition("#")[0] for line in shown[1].splitlines())
    assert bytes.fromhex(hexed) == GOLDEN["keys_removed"]


def test_the_publisher_in_the_document_writes_the_golden_frame() -> None:
    shown = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert shown is not None
    names: dict[str, object] = {}
    exec(shown[1], names)
    assert names["record"] == GOLDEN["keys_removed"]
    assert names["id"] == f"{ORIGIN}:1:1"
