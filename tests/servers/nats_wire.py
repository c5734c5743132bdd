"""One request of NATS's protocol, so that a test server needs no client library."""

from __future__ import annotations

import json
import socket

from .ports import LOOPBACK

__all__ = ["request"]


def request(port: int, subject: str, data: bytes = b"") -> bytes:
    """The first answer to `data` on `subject`; `OSError` where none comes within a second."""
    with socket.create_connection((LOOPBACK, port), timeout=1) as connection, connection.makefile("rwb") as stream:
        stream.readline()  # the greeting
        options = json.dumps({"verbose": False, "pedantic": False, "headers": True, "no_responders": True})
        head = f"CONNECT {options}\r\nSUB answer 1\r\nPUB {subject} answer {len(data)}\r\n"
        stream.write(head.encode() + data + b"\r\n")
        stream.flush()
        while line := stream.readline():
            verb, *words = line.split()
            if verb == b"MSG":
                return stream.read(int(words[-1]))
            if verb in (b"HMSG", b"-ERR"):
                raise ConnectionRefusedError(f"no answer to {subject}: {line!r}")
        raise ConnectionResetError("the server closed the connection")
