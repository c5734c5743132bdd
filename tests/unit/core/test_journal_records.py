"""Records of a journal: what is left of a file that was cut, spoilt or written by another release."""

from __future__ import annotations

import msgspec
import pytest

from async_hybrid_cache.journal.records import Acknowledged, Closed, Noted, Opened, Record, Sealed, encode, read
from async_hybrid_cache_codecs.events import CacheCleared, KeysRemoved, ScopeCleared

FIRST, SECOND = KeysRemoved("scope", ("a", "b")), ScopeCleared("scope")
RECORDS: list[Record] = [
    Opened("Log('l')"),
    Noted(1, FIRST),
    Noted(2, SECOND),
    Sealed("o:1:1", b"frame", (1,)),
    Noted(3, FIRST),
    Closed((2,)),
    Acknowledged("o:1:1"),
]
PARTS = [encode(record) for record in RECORDS]
WHOLE = b"".join(PARTS)


def test_what_is_left_is_what_was_neither_closed_nor_acknowledged() -> None:
    assert read(b"") == (None, [], [], False)
    assert read(WHOLE) == ("Log('l')", [], [FIRST], False)
    assert read(b"".join(PARTS[:-1])) == ("Log('l')", [RECORDS[3]], [FIRST], False)
    assert read(b"".join(PARTS[:4])) == ("Log('l')", [RECORDS[3]], [SECOND], False)


def test_a_tail_torn_at_any_byte_is_cut_off() -> None:
    ends = [sum(map(len, PARTS[:count])) for count in range(len(PARTS) + 1)]
    for size in range(len(WHOLE) + 1):
        complete = sum(end <= size for end in ends) - 1
        assert read(WHOLE[:size]) == read(b"".join(PARTS[:complete])), size
        assert not read(WHOLE[:size]).damaged


@pytest.mark.parametrize("zeros", [1, 11, 12, 4096])
def test_a_tail_that_was_reserved_and_never_filled_is_cut_off(zeros: int) -> None:
    assert read(WHOLE + bytes(zeros)) == read(WHOLE)


def test_a_byte_spoilt_anywhere_means_that_everything_is_removed() -> None:
    for at in range(len(WHOLE)):
        spoilt = bytearray(WHOLE)
        spoilt[at] ^= 0x55
        content = read(bytes(spoilt))
        assert content.damaged, at
        assert content.events[-1] == CacheCleared(), at


def test_a_record_of_a_newer_release_means_that_everything_is_removed() -> None:
    class Later(msgspec.Struct, array_like=True, tag="z"):
        what: str

    unknown = encode(Later("?"))  # type: ignore[arg-type]
    content = read(unknown + PARTS[0] + PARTS[1])
    assert content == ("Log('l')", [], [FIRST, CacheCleared()], True)
    newer = read(encode(Opened("Log('l')", version=2)) + PARTS[1])
    assert newer == ("Log('l')", [], [FIRST, CacheCleared()], True)
