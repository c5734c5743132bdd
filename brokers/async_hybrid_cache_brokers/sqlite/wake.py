"""How the processes on one file tell each other that something was written.

Every reader binds a datagram socket in a folder that all of them derive from the path; a writer sends a few bytes
to every socket there after its commit. A lost wake-up costs a reader its next slow poll, nothing else. The last
reader takes the folder away. Sockets of killed ones go when the next record is appended; where the folder is a
temporary one, whose file may be gone, also when a reader of any other such file begins.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress

__all__ = ["WakeReceiver", "WakeSender", "wake_folder"]

_SUN_PATH = 107
_NAME = len("/4194304-0123456789abcdef.sock")
_ATTEMPTS = 10
_MESSAGE_BYTES = 64


def wake_folder(path: str) -> str:
    """The folder of the sockets: beside the file, or in the temporary one where that path is too long."""
    real = os.path.realpath(path)
    beside = f"{real}.wake"
    if len(os.fsencode(beside)) + _NAME <= _SUN_PATH:
        return beside
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return os.path.join(tempfile.gettempdir(), _temporary_prefix() + digest)


def _temporary_prefix() -> str:
    return f"ahc-wake-{os.getuid()}-"


def _clear_temporary() -> None:
    """Remove what readers that were killed left in the temporary folder, for whatever file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.startswith(_temporary_prefix()) and _is_ours(entry):
                    for name in os.listdir(entry):
                        _remove_dead(probe, os.path.join(entry.path, name))
                    os.rmdir(entry)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    # everybody may write there: a link of somebody else's could lead anywhere
    return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()


def _remove_dead(probe: socket.socket, address: str) -> None:
    try:
        probe.connect(address)
    except ConnectionRefusedError:
        os.unlink(address)


class WakeSender:
    """Wakes every reader of a folder; callable from any one thread."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._socket: socket.socket | None = None
        if hasattr(socket, "AF_UNIX"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def wake(self, message: bytes = b"\0") -> None:
        """Send `message`, of at most 64 bytes, to every reader, and remove the sockets of those that were killed."""
        if self._socket is None:
            return
        try:
            names = os.listdir(self._folder)
        except OSError:
            return
        for name in names:
            if not name.endswith(".sock"):
                continue
            address = os.path.join(self._folder, name)
            try:
                self._socket.sendto(message, address)
            except ConnectionRefusedError:
                with suppress(OSError):
                    os.unlink(address)
            except OSError:
                continue  # a full one is being woken already; the rest have their slow poll


class WakeReceiver:
    """Counts wake-ups in the running loop, and calls `hear` with their messages.

    Without unix datagram sockets it never wakes anybody, and is not `bound`.
    """

    def __init__(self, folder: str, hear: Callable[[list[bytes]], None] | None = None) -> None:
        self.count = 0
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._waiters: set[asyncio.Future[None]] = set()
        self._folder = folder
        self._address = os.path.join(folder, f"{self._process}-{secrets.token_hex(8)}.sock")
        self._socket: socket.socket | None = None

    @property
    def bound(self) -> bool:
        """Whether it can be woken."""
        return self._socket is not None

    def open(self) -> None:
        """Bind the socket, where this system and this folder have such sockets."""
        if not hasattr(socket, "AF_UNIX"):
            return
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            self._bind(bound)
            self._loop.add_reader(bound, self._woken)
        except (OSError, NotImplementedError):
            bound.close()
        else:
            self._socket = bound
            if os.path.basename(self._folder).startswith(_temporary_prefix()):
                with suppress(OSError):
                    _clear_temporary()

    async def wait(self, seen: int, timeout: float) -> None:
        """Return once `count` is not `seen`, or after `timeout` seconds."""
        if self.count != seen:
            return
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._waiters.discard(waiter)

    def close(self) -> None:
        """Close the socket and remove its file, and the folder where it was the last; whoever waits returns."""
        if self._socket is not None:
            # in the child of a fork, the loop's selector and the file are still the parent's
            if self._process == os.getpid():
                if not self._loop.is_closed():
                    self._loop.remove_reader(self._socket)
                with suppress(OSError):
                    os.unlink(self._address)
                    os.rmdir(self._folder)
            self._socket.close()
        self._release()

    def _bind(self, bound: socket.socket) -> None:
        for _ in range(_ATTEMPTS):
            with suppress(FileExistsError):
                os.mkdir(self._folder)
            # the last reader may take the folder away just now
            with suppress(FileNotFoundError):
                return bound.bind(self._address)
        raise FileNotFoundError(self._folder)

    def _woken(self) -> None:
        assert self._socket is not None
        messages: list[bytes] = []
        with suppress(BlockingIOError):
            while message := self._socket.recv(_MESSAGE_BYTES):
                messages.append(message)
        self._release()
        if self._hear is not None:
            self._hear(messages)

    def _release(self) -> None:
        self.count += 1
        for waiter in self._waiters:
            if not waiter.done() and not self._loop.is_closed():
                waiter.set_result(None)
