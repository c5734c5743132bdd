"""A subscription as its users see it, and its life: contend, own, be deposed, contend again."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
from typing import TYPE_CHECKING, Literal

from ..checkpoint import Checkpoint, CheckpointStore
from ..clock import Clock, SystemClock
from ..errors import CheckpointConflict, CheckpointError, ConfigurationError
from ..ownership import Slot, Standing, StoreUse, claim_slot, slot_name
from ..ownership.lease import BEATS_PER_LEASE
from ..stats import SubscriptionStats
from ..stream.keeper import decode_checkpoint
from ..stream.supervisor import Link, Tasks, supervise
from ..validation import checked_part
from .delivery import Handler
from .feed import Counts
from .session import Session

if TYPE_CHECKING:
    from ..bus import InvalidationBus

__all__ = ["Subscription"]

logger = logging.getLogger("async_hybrid_cache")

_LONGEST_NAME = 200
_LOOKS_PER_LEASE = 12
_START_SECONDS = 5.0
_STOP_SECONDS = 2.0


class Subscription:
    """Calls `handler` with every event of the stream, in order, one at a time, at least once; over restarts too.

    Made by `InvalidationBus.subscribe`. It runs with the cache on that bus, or by itself between `start` and `stop`
    (`async with` does both). The log is read over a connection of its own, in tasks of its own. A handler that raises
    is called again with the same event, after at most 30 seconds, for as long as it takes; what follows waits.
    """

    def __init__(
        self,
        bus: InvalidationBus,
        name: str,
        handler: Handler,
        *,
        per: Literal["fleet", "instance"] = "fleet",
        checkpoints: CheckpointStore | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        options = bus.stream_options
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
            raise ConfigurationError(f"a subscription's name is text of 1 to {_LONGEST_NAME} characters, not {name!r}")
        if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - not whether it can be called, but how
        ):
            raise ConfigurationError(f"the handler of subscription {name!r} must be an async function, not {handler!r}")
        if per not in ("fleet", "instance"):
            raise ConfigurationError(f"per must be 'fleet' or 'instance', not {per!r}")
        if per == "instance" and options.instance_id is None:
            raise ConfigurationError(
                f"subscription {name!r} is per='instance': give the bus stream=StreamOptions(instance_id=...)"
            )
        checked_part("checkpoints", checkpoints, CheckpointStore)
        store = checkpoints or options.checkpoints
        if store is None:
            raise ConfigurationError(
                f"subscription {name!r} has no place for its position: give it checkpoints=..., e.g. "
                "FileCheckpointStore('state'), or the bus stream=StreamOptions(checkpoints=...)"
            )
        self.name = name
        self.per: Literal["fleet", "instance"] = per
        self._options = options
        self._handler = handler
        self._clock = clock or SystemClock()
        self._rng = rng or random.SystemRandom()
        self._owner = f"{self._rng.getrandbits(64):016x}"
        self._use = StoreUse(store, options.call_timeout_seconds)
        self._new_log = bus.new_log
        self._loop: asyncio.AbstractEventLoop | None = None
        self._link: Link | None = None
        self._tasks: Tasks | None = None
        self._session: Session | None = None
        self._last: tuple[str, Checkpoint] | None = None
        self._counts = Counts()

    def __repr__(self) -> str:
        return f"Subscription({self.name!r}, per={self.per!r})"

    async def start(self) -> None:
        """Begin to run in this event loop. Starting a started subscription does nothing.

        Returns once it stands in the log, another instance is found to own it, or something is away, which is tried
        again in the background; after 5 seconds in any case.
        """
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._tasks is not None:
            return
        self._loop = loop
        self._session = None
        self._writer = f"{self._owner}-{os.getpid()}"  # another one after a fork
        self._log = self._new_log()
        self._begun = asyncio.Event()
        self._link = link = Link(
            self._log,
            self._options,
            self._clock,
            self._rng,
            label=f"subscription {self.name!r}",
            on_trouble=lambda name: self._begun.set(),
        )
        self._tasks = Tasks(link, self._options.retry_max_seconds)
        self._tasks.start("owner", self._run)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._begun.wait()
        except TimeoutError:
            pass
        except BaseException:
            await self.stop()  # nobody else will: the caller never entered its `async with`
            raise

    async def stop(self) -> None:
        """Keep the position and let the next owner have it, within about 5 seconds. Stopping twice does nothing.

        A handler that is running is cancelled, and its event delivered again after the next start.
        """
        tasks, self._tasks = self._tasks, None
        if tasks is None or self._link is None or self._loop is not asyncio.get_running_loop():
            return
        if running := tasks.cancel():
            _, stuck = await asyncio.wait(running, timeout=2 * _STOP_SECONDS)
            if stuck:
                logger.warning("%r did not stop in time: its handler or its checkpoint store does not let go", self)
        await self._link.close(_STOP_SECONDS / 2)
        await self._use.close()
        self._loop = None

    async def __aenter__(self) -> Subscription:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def stats(self) -> SubscriptionStats:
        """How it stands, and what it has done since it was made."""
        session, troubles = self._session, self._link.troubles if self._link and self._tasks else {}
        last = max(troubles.values(), key=lambda trouble: trouble[0], default=None)
        return SubscriptionStats(
            name=self.name,
            per=self.per,
            running=self._tasks is not None,
            owner=session is not None,
            position=str(session.position) if session else None,
            lag=session.lag if session else None,
            delivered=self._counts.delivered,
            retries=self._counts.retries,
            gaps=self._counts.gaps,
            duplicates=self._counts.duplicates,
            failing_seconds=self._clock.monotonic() - last[0] if last else None,
            last_error=str(last[1]) or type(last[1]).__name__ if last else None,
        )

    def troubles(self) -> list[str]:
        """What is wrong now, for people."""
        if self._link is None or self._tasks is None:
            return []
        return [
            f"subscription {self.name!r} {part}: failing for {self._clock.monotonic() - since:.1f} s: {error}"
            for part, (since, error) in self._link.troubles.items()
        ]

    # -- life ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        assert self._link is not None
        link = self._link
        attempt = 0
        while True:
            try:
                slot = await self._claim()
                body = await slot.take_position()
            except (CheckpointError, TimeoutError) as error:
                attempt = attempt + 1 if "owner" in link.troubles else 0
                link.note("owner", error)
                await link.pause(attempt)
                continue
            link.clear("owner")
            await self._own(slot, body)

    async def _claim(self) -> Slot:
        """Wait until this is the owner."""
        assert self._link is not None
        seconds = self._options.lease_seconds
        if self.per == "instance":
            name = slot_name("subscription", self.name, self._options.instance_id or "")
            return await claim_slot(self._use, name, owner=self._writer, seconds=seconds, clock=self._clock)
        slot = Slot(
            self._use, slot_name("subscription", self.name), owner=self._writer, seconds=seconds, clock=self._clock
        )
        while True:
            try:
                standing = await slot.lease.look()
                if standing in (Standing.NEW, Standing.FREE, Standing.SILENT) and await slot.lease.take():
                    return slot
            except CheckpointError as error:
                self._link.note("owner", error)  # and go on watching, with what was seen until now
            else:
                self._link.clear("owner")
                self._begun.set()
            await asyncio.sleep(seconds / _LOOKS_PER_LEASE)

    async def _own(self, slot: Slot, body: bytes | None) -> None:
        """Deliver until somebody else is the owner, or this is ended."""
        assert self._link is not None
        link = self._link
        session = Session(self._log, self._options, self._clock, link, slot, self._handler, self._counts)
        kept = decode_checkpoint(body) if body is not None else None
        if self.per == "instance" and self._last is not None and self._last[0] != slot.position.name:
            kept = self._last[1]  # it lost its slot while it was frozen, and goes on from where it stood
        session.begin(kept, known=slot.position.version != 0 or slot.lease.was_known)
        self._session = session
        work = asyncio.create_task(supervise(link, "reader", session.run), name=f"subscription {self.name} reader")
        try:
            await self._beat(slot, session, work)
        finally:
            self._session = None
            work.cancel()
            _, stuck = await asyncio.wait({work}, timeout=_STOP_SECONDS)
            if session.done is not None:
                self._last = slot.position.name, session.done
            if not stuck:
                await link.close(_STOP_SECONDS / 2)
                if not session.deposed.is_set():
                    await session.end()
                    await slot.lease.release()

    async def _beat(self, slot: Slot, session: Session, work: asyncio.Task[None]) -> None:
        """Beat until somebody else is the owner."""
        assert self._link is not None
        seconds = self._options.lease_seconds / BEATS_PER_LEASE
        deposed = asyncio.ensure_future(session.deposed.wait())
        placed = asyncio.ensure_future(session.placed.wait())
        placed.add_done_callback(lambda _: self._begun.set())
        try:
            while not deposed.done() and not work.done():
                await asyncio.wait({deposed, work}, timeout=seconds)
                try:
                    await slot.lease.beat()
                    self._link.clear("owner")
                except CheckpointConflict:
                    session.deposed.set()
                    logger.warning("%r: another instance took over", self)
                    return
                except CheckpointError as error:
                    self._link.note("owner", error)
        finally:
            deposed.cancel()
            placed.cancel()
