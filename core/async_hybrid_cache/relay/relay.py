"""Sends to the log what transactions have left in an outbox."""

from __future__ import annotations

import asyncio
import contextlib
import random

from ..errors import ConfigurationError, DistributedCacheError
from ..log import EventLog
from ..publisher import InvalidationPublisher
from ..publisher.remover import Remover
from ..stream.supervisor import Link, supervise
from ..validation import checked_part, positive
from .table import OutboxTable
from .term import Term

__all__ = ["OutboxRelay"]

_CLAIM_SECONDS = 0.5


class OutboxRelay:
    """Sends what transactions have left in `outbox` to the instances, after their commit: at least once, in order.

    Run it in as many processes as you like: one at a time relays, and another one takes over when that ends. Nothing
    here raises for a database, log or L2 that is away; it is logged once, and tried again with capped backoff.

    - `outbox`: the table, e.g. a `PostgresOutbox`.
    - `publisher`: says which log and which L2, under which name and with what timeout. It is not opened.
    - `poll_seconds` (0.5): how often the table is looked at where nothing wakes the relay.

    Use it with `async with`, or `start` and `stop`; it may be started again, also in another event loop. Raises
    `ConfigurationError` for an argument that cannot be used.
    """

    def __init__(self, outbox: OutboxTable, publisher: InvalidationPublisher, *, poll_seconds: float = 0.5) -> None:
        checked_part("outbox", outbox, OutboxTable)
        checked_part("publisher", publisher, InvalidationPublisher)
        if outbox is None or publisher is None:
            raise ConfigurationError("a relay needs an outbox and a publisher")
        self._outbox = outbox
        self._publisher = publisher
        self._poll_seconds = positive("poll_seconds", poll_seconds)
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._term: Term | None = None
        self._relayed = 0

    def __repr__(self) -> str:
        return f"OutboxRelay({self._outbox!r}, {self._publisher!r})"

    @property
    def relaying(self) -> bool:
        """Whether this is the one that relays now, and not one that stands by."""
        return self._term is not None

    @property
    def relayed(self) -> int:
        """Events that it has sent."""
        return self._relayed + (self._term.relayed if self._term else 0)

    @property
    def trouble(self) -> str | None:
        """What keeps it from its work now, in words; None where nothing does."""
        troubles = self._link.troubles.values() if self._link else ()
        return "; ".join(str(error) for _, error in troubles) or None

    async def start(self) -> None:
        """Begin to relay, or to stand by; returns at once. Starting a started one does nothing.

        Raises `ConfigurationError` where the publisher's L2 cannot be used.
        """
        task = self._task
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            return
        publisher = self._publisher
        log, cache = publisher.bus.new_log(), publisher.new_l2()
        remover = Remover(cache, publisher.timeout_seconds / 4) if cache is not None else None
        self._link = Link(
            log, publisher.bus.stream_options, publisher.clock, random.SystemRandom(), label="outbox relay"
        )
        self._term = None
        self._task = asyncio.create_task(self._run(self._link, log, remover), name="async-hybrid-cache outbox relay")

    async def stop(self) -> None:
        """Let go of everything, in bounded time; what was not sent stays in the table. Never raises."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait({task})

    async def __aenter__(self) -> OutboxRelay:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _run(self, link: Link, log: EventLog, remover: Remover | None) -> None:
        try:
            await supervise(link, "relay", lambda: self._serve(link, log, remover))
        finally:
            await link.close(self._publisher.bus.stream_options.call_timeout_seconds)
            if remover is not None:
                await remover.close()

    async def _serve(self, link: Link, log: EventLog, remover: Remover | None) -> None:
        """Stand by until the claim is free, then relay until something fails."""
        publisher = self._publisher
        try:
            await self._outbox.open()
            while not await self._outbox.claim():
                link.clear("relay")
                await asyncio.sleep(_CLAIM_SECONDS)
            if remover is not None:
                with contextlib.suppress(DistributedCacheError):
                    await remover.open()  # where that fails, the first delete does, and is tried again
            self._term = Term(
                self._outbox,
                log,
                remover,
                link,
                publisher.bus.stream_options,
                publisher.clock,
                name=publisher.name,
                delete_seconds=publisher.timeout_seconds / 2,
            )
            await self._term.run(self._poll_seconds)
        finally:
            self._relayed, self._term = self.relayed, None
            await self._outbox.close()
