"""The few requests of Kafka's protocol that a test server needs, so that it needs no client library."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence

from .ports import LOOPBACK

__all__ = ["connect", "grant_use", "has_brokers", "speaks"]

_METADATA, _API_VERSIONS, _CREATE_ACLS = 3, 18, 30
_TOPIC, _LITERAL, _ALLOW = 2, 3, 3
_READ, _WRITE, _DESCRIBE_CONFIGS = 3, 4, 10


@contextlib.contextmanager
def connect(port: int) -> Iterator[socket.socket]:
    """A connection that gives up after a second of silence."""
    with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        yield connection


def has_brokers(connection: socket.socket) -> bool:
    """Whether the cluster has a broker that clients may use."""
    reply = _call(connection, _METADATA, 0, struct.pack(">i", 0))
    return int(struct.unpack_from(">i", reply)[0]) > 0


def speaks(connection: socket.socket) -> bool:
    """Whether a broker answers, which it does before it knows who asks."""
    reply = _call(connection, _API_VERSIONS, 0, b"")
    return int(struct.unpack_from(">h", reply)[0]) == 0


def grant_use(connection: socket.socket, users: Sequence[str]) -> None:
    """Let `users` read, write and look at every topic that exists."""
    rules = [
        struct.pack(">b", _TOPIC)
        + _text("*")
        + struct.pack(">b", _LITERAL)
        + _text(f"User:{user}")
        + _text("*")
        + struct.pack(">bb", operation, _ALLOW)
        for user in users
        for operation in (_READ, _WRITE, _DESCRIBE_CONFIGS)
    ]
    reply = _call(connection, _CREATE_ACLS, 1, struct.pack(">i", len(rules)) + b"".join(rules))
    if any(reply[8:].replace(b"\xff\xff", b"")):  # after throttle time and count: an error code and a null each
        raise RuntimeError(f"the broker refused the permissions: {reply!r}")


def _call(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    request = struct.pack(">hhi", api, version, 1) + _text("test-server") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _exactly(connection, 4))
    return _exactly(connection, size)[4:]


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        data += part
    return data


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data
