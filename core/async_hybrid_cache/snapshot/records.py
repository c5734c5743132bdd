"""What the frames of a snapshot hold."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from ..checkpoint import Checkpoint
from ..clock import Clock
from .frames import SnapshotUnusable

__all__ = ["Chunk", "Header", "Item", "boot", "decode_chunk", "decode_header", "encode", "library_version"]


class Header(msgspec.Struct, frozen=True):
    """The first frame: by which release, where the stream stood when the scan began, and when that was."""

    library: str
    base: Checkpoint
    time_ns: int
    monotonic: float
    boot: str

    def began(self, clock: Clock) -> float:
        """When the scan began, on this process's monotonic clock; `SnapshotUnusable` where no clock can tell."""
        now = clock.monotonic()
        elapsed = (clock.time_ns() - self.time_ns) / 1e9
        if self.boot and self.boot == boot():
            # the monotonic clock is the host's, and nobody can set it
            elapsed = max(elapsed, now - self.monotonic)
        if elapsed < 0:
            raise SnapshotUnusable("the clock went back")
        return now - elapsed


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry; both times are in seconds from when the scan began."""

    key: str
    codec: int
    payload: bytes
    expires: float
    stale: float
    used: int
    shared: bool


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Entries of one scope, readable by the codecs of this identity."""

    scope: str
    identity: bytes
    items: list[Item]


encode = msgspec.msgpack.Encoder().encode
decode_header = msgspec.msgpack.Decoder(Header).decode
decode_chunk = msgspec.msgpack.Decoder(Chunk).decode


@cache
def library_version() -> str:
    """The release of this library."""
    try:
        return version("async-hybrid-cache")
    except PackageNotFoundError:
        return ""


@cache
def boot() -> str:
    """Which start of the host this is; empty where the system does not tell (outside Linux)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
