"""A publisher for code without an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import CacheClosed
from ..receipt import Receipt

if TYPE_CHECKING:
    from .publisher import InvalidationPublisher

__all__ = ["SyncInvalidationPublisher"]

T = TypeVar("T")


class _Running(NamedTuple):
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


class SyncInvalidationPublisher:
    """What `InvalidationPublisher.sync()` returns: the same calls, each of which waits for its result.

    It connects at the first call, in a thread of its own that several threads may share, and again in each process
    that calls it after a fork; so it may be made at import time and used in the workers of Celery or gunicorn. Close
    it with `close` or `with`; a process that ends without that loses nothing, since every call was acknowledged.
    """

    def __init__(self, publisher: InvalidationPublisher) -> None:
        self._publisher = publisher
        self._running: _Running | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        _alive.add(self)

    def __repr__(self) -> str:
        return f"{self._publisher!r}.sync()"

    def open(self) -> None:
        """Connect now rather than at the first call; see `InvalidationPublisher.open`."""
        with self._lock:
            self._opened()

    def close(self) -> None:
        """Let go of everything; a later call connects again. Never raises."""
        with self._lock:
            running, self._running = self._running, None
            thread, self._thread = self._thread, None
            if running is not None:
                running.loop.call_soon_threadsafe(running.stop.set)
            if thread is not None:
                thread.join()

    def __enter__(self) -> SyncInvalidationPublisher:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remove(self, key: str, *more: str, scope: str = "default") -> Receipt:
        """See `InvalidationPublisher.remove`."""
        return self._call(lambda: self._publisher.remove(key, *more, scope=scope))

    def clear(self, *, scope: str | None = None) -> Receipt:
        """See `InvalidationPublisher.clear`."""
        return self._call(lambda: self._publisher.clear(scope=scope))

    def invalidate_tags(self, tag: str, *more: str) -> Receipt:
        """See `InvalidationPublisher.invalidate_tags`."""
        return self._call(lambda: self._publisher.invalidate_tags(tag, *more))

    def _call(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with self._lock:
            loop = self._opened().loop
            # in the lock, so that a close comes behind it: a loop that has ended answers nobody
            future = asyncio.run_coroutine_threadsafe(call(), loop)
        try:
            return future.result()
        except CancelledError as error:
            raise CacheClosed("the publisher was closed during the call") from error
        except BaseException:
            future.cancel()  # e.g. KeyboardInterrupt
            raise

    def _opened(self) -> _Running:
        if self._running is None:
            if self._thread is not None:
                self._thread.join()  # that of an opening which was interrupted
            ready: Future[_Running] = Future()
            # a daemon, since a thread that waits for work must not keep the process from ending
            self._thread = threading.Thread(
                target=self._run, args=(ready,), name="async-hybrid-cache publisher", daemon=True
            )
            try:
                self._thread.start()
                self._running = ready.result()
            except BaseException:
                # e.g. KeyboardInterrupt: the thread ends as soon as it is connected, unless it was already
                if not ready.cancel() and ready.exception() is None:
                    self._running = ready.result()
                raise
        return self._running

    def _run(self, ready: Future[_Running]) -> None:
        async def serve() -> None:
            stop = asyncio.Event()
            async with self._publisher:
                with contextlib.suppress(InvalidStateError):
                    ready.set_result(_Running(asyncio.get_running_loop(), stop))
                    await stop.wait()

        try:
            asyncio.run(serve())
        except BaseException as error:
            try:
                ready.set_exception(error)
            except InvalidStateError:
                if not ready.cancelled():
                    raise

    def _forked(self) -> None:
        # the thread did not come along, and the lock may be held by one that did not either
        self._running, self._thread, self._lock = None, None, threading.Lock()


_alive: weakref.WeakSet[SyncInvalidationPublisher] = weakref.WeakSet()


def _after_fork() -> None:
    for publisher in list(_alive):
        publisher._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
