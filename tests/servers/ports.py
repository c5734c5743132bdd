"""Ports for servers that are killed and come back on the same one."""

from __future__ import annotations

import errno
import random
import socket

__all__ = ["LOOPBACK", "free_port"]

LOOPBACK = "127.0.0.1"
# below Linux's ephemeral range: a client that retries against a closed ephemeral port can connect to itself
_RANGE = range(20_000, 32_000)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    for port in random.SystemRandom().sample(_RANGE, 100):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
    raise RuntimeError(f"no free port between {_RANGE.start} and {_RANGE.stop}")
