"""How the log looks on the server: names, subjects, message ids, and the stream's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from async_hybrid_cache.errors import ConfigurationError

__all__ = ["MESSAGE_BYTES", "Layout", "Marker", "message_id", "record_id"]

MESSAGE_BYTES = 1024 * 1024
"""What a message may have to hold: the largest record, and headers. It is the `max_payload` of a server by default."""

_LONGEST = 200
_DEDUPLICATION_SECONDS = 120
_NANOSECONDS = 1_000_000_000

# what must be so for the promises to hold: (setting, what it may be, what to set)
_NEEDED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("storage", ("file",), "file"),
    ("retention", ("limits",), "limits"),
    ("discard", ("old", None), "old"),
    ("max_msgs", (-1, 0, None), "-1; limit max_msgs_per_subject instead"),
    ("max_bytes", (-1, 0, None), "-1; limit max_msgs_per_subject instead"),
    ("max_age", (0, None), "0; limit max_msgs_per_subject instead"),
    ("no_ack", (False, None), "false"),
    ("sealed", (False, None), "false"),
    ("deny_purge", (False, None), "false"),
    ("mirror", (None,), "nothing"),
    ("sources", (None, []), "nothing"),
    ("subject_transform", (None,), "nothing"),
    ("persist_mode", (None, "", "default"), "default"),
)


class Marker(NamedTuple):
    """The message that begins an epoch: what follows it are the records, offset 1 first."""

    sequence: int
    epoch: int


class Layout:
    """The stream `name`, which holds records in one subject and the epoch's marker in another.

    The marker is the stream's first message, and the records are dense behind it.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{_LONGEST}}}", name):
            raise ConfigurationError(f"a NATS stream's name is letters, digits, '_' and '-', not {name!r}")
        self.name = name
        self.events = f"{name}.events"
        self.epoch = f"{name}.epoch"

    def settings(self, retention: int, replicas: int, first: int) -> dict[str, Any]:
        """What the stream is created with; the limit is of a subject, so that the marker stays."""
        return {
            "name": self.name,
            "subjects": [self.events, self.epoch],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_msgs_per_subject": retention,
            "num_replicas": replicas,
            "duplicate_window": _DEDUPLICATION_SECONDS * _NANOSECONDS,
            "deny_delete": True,
            "first_seq": first,
        }

    def only_after(self, marker: Marker) -> dict[str, str]:
        """Headers that have the server refuse a message where another marker is the newest."""
        return {
            "Nats-Expected-Last-Subject-Sequence": str(marker.sequence),
            "Nats-Expected-Last-Subject-Sequence-Subject": self.epoch,
        }

    def flaws(self, settings: Mapping[str, Any]) -> str:
        """What keeps a stream with these settings from being the log, and the fix; empty where nothing does."""
        found = [f"{name} must be {fix}" for name, good, fix in _NEEDED if settings.get(name) not in good]
        if sorted(settings.get("subjects") or []) != sorted([self.events, self.epoch]):
            found.insert(0, f"its subjects must be {self.events} and {self.epoch}")
        if settings.get("duplicate_window", 0) < _DEDUPLICATION_SECONDS * _NANOSECONDS:
            found.append(f"duplicate_window must be at least {_DEDUPLICATION_SECONDS} s")
        if 0 <= settings.get("max_msg_size", -1) < MESSAGE_BYTES:
            found.append(f"max_msg_size must be -1, or at least {MESSAGE_BYTES}")
        return "; ".join(found)


def message_id(epoch: int, id: str) -> str:
    """The header `Nats-Msg-Id`: with the epoch, since the server remembers ids longer than we keep records."""
    return f"{epoch}:{quote(id, safe=':', errors='surrogatepass')}"


def record_id(message_id: str) -> str:
    """The id of the record behind such a header; of another program's, what it wrote."""
    epoch, colon, id = message_id.partition(":")
    return unquote(id, errors="surrogatepass") if colon and epoch.isdecimal() else message_id
