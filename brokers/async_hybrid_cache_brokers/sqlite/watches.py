"""Who waits for a lease to end, in any process of the host, is woken over a socket that it binds meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from async_hybrid_cache.errors import DistributedCacheError

from .wake import WakeReceiver, WakeSender, wake_folder

__all__ = ["Watches"]

_EVERYBODY = b"*"
# a socket's queue holds as many at least, so what was heard with fewer is all that was said
_QUEUED = 10


class Watches:
    """The watches of this process on the L2 in the file at `path`, and the way to wake those of all processes.

    Used in the loop's thread. Nobody listens, and nothing is sent, while nobody waits.
    """

    def __init__(self, path: str) -> None:
        # beside the folder of the log in the same file, whose readers are woken for other reasons
        self._folder = wake_folder(f"{os.path.realpath(path)}-l2")
        self._sender = WakeSender(self._folder)
        self._receiver: WakeReceiver | None = None
        self._events: dict[bytes, set[asyncio.Event]] = {}

    @asynccontextmanager
    async def watch(self, scope: str, key: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when somebody wakes who waits for this key."""
        if self._receiver is None:
            self._receiver = WakeReceiver(self._folder, self._heard)
            self._receiver.open()
        if not self._receiver.bound:
            raise DistributedCacheError("this system has no unix datagram sockets, or the file's folder none to offer")
        changed, name = asyncio.Event(), _digest(scope, key)
        self._events.setdefault(name, set()).add(changed)
        try:
            yield changed
        finally:
            self._events[name].discard(changed)
            if not self._events[name]:
                del self._events[name]
            if not self._events:
                self._silence()

    def wake(self, scope: str, keys: Sequence[str]) -> None:
        """Wake who waits for these keys, in any process."""
        if len(keys) >= _QUEUED:
            self.wake_all()
        elif os.path.isdir(self._folder):
            for key in keys:
                self._sender.wake(_digest(scope, key))

    def wake_all(self) -> None:
        """Wake whoever waits for any key, in any process."""
        self._sender.wake(_EVERYBODY)

    def close(self) -> None:
        """Close the sockets; whoever waits is woken."""
        self._silence()
        self._sender.close()
        self._set(self._events)

    def _silence(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.close()

    def _heard(self, messages: list[bytes]) -> None:
        lossy = len(messages) >= _QUEUED or _EVERYBODY in messages
        self._set(self._events if lossy else messages)

    def _set(self, names: Iterable[bytes]) -> None:
        for name in names:
            for event in self._events.get(name, ()):
                event.set()


def _digest(scope: str, key: str) -> bytes:
    return hashlib.blake2b(repr((scope, key)).encode(), digest_size=16).digest()
