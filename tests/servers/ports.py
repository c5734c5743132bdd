"""Ports for servers that are killed and come back on the same one."""

from __future__ import annotations

import errno
import os
import random
import socket

__all__ = ["LOOPBACK", "free_port", "free_ports"]

LOOPBACK = "127.0.0.1"
# below Linux's ephemeral range: a client that retries against a closed ephemeral port can connect to itself
_ALL = range(20_000, 32_000)
# each worker of pytest-xdist has its share, since a port may be free only because its server is killed just now
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
_RANGE = _ALL[_WORKER * len(_ALL) // _WORKERS : (_WORKER + 1) * len(_ALL) // _WORKERS]
# for the same reason none is given away twice
_given: set[int] = set()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on, and that was not given away here before."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """`count` different ones."""
    free: list[int] = []
    for port in random.SystemRandom().sample(_RANGE, 500 + count):
        if port not in _given and _is_free(port):
            free.append(port)
            _given.add(port)
        if len(free) == count:
            return free
    raise RuntimeError(f"no {count} free ports between {_RANGE.start} and {_RANGE.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
