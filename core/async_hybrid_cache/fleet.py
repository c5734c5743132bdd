"""All instances on one log: who they are, and waiting until each has applied a position."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from async_hybrid_cache_codecs.events import PositionsAsked

from .errors import BarrierTimeout, LogUnavailable
from .positions import Position
from .stream import InvalidationStream
from .stream.roster import RosterEntry

__all__ = ["Fleet", "FleetMember"]

_ANSWER_SECONDS = 1.0
_LOOK_SECONDS = 0.25


class FleetMember(msgspec.Struct, frozen=True, kw_only=True):
    """One instance.

    - `instance`: its `instance_id`, or the random name that stands for it.
    - `position`: up to where it said that it has applied the log, as `epoch-offset`.
    - `lag`: records known to it then and not applied yet.
    - `silent_seconds`: how long ago it was heard of.
    - `bound`: how long it serves what it has while it hears nothing, in seconds; None where that has no bound.
    """

    instance: str
    position: str
    lag: int
    silent_seconds: float
    bound: float | None


class Fleet:
    """What one instance knows of all of them, and asks them."""

    def __init__(self, stream: InvalidationStream | None) -> None:
        self._stream = stream

    async def members(self) -> tuple[FleetMember, ...]:
        """This instance and all others, asked now, and waited for a second at most."""
        stream = self._stream
        if stream is None:
            return ()
        deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
        asked_at = await stream.publish(PositionsAsked()).wait(_ANSWER_SECONDS)
        if asked_at is not None:
            await _until_not(stream, lambda: any(entry.position < asked_at for entry in _others(stream)), deadline)
        own = FleetMember(
            instance=stream.instance,
            position=str(stream.reader.applied),
            lag=stream.reader.lag,
            silent_seconds=0.0,
            bound=stream.bound,
        )
        return own, *(_member(entry, stream.clock.monotonic()) for entry in _others(stream))

    async def barrier(self, position: Position | None, timeout: float) -> None:
        """See `AsyncHybridCache.barrier`."""
        stream = self._stream
        if stream is None:
            return
        if position is None:
            raise LogUnavailable("the change is queued and has no position yet")
        now = stream.clock.monotonic
        begun_at = now()
        deadline = asyncio.get_running_loop().time() + timeout
        if not await stream.arrivals.wait(position, timeout):
            raise BarrierTimeout(
                f"this instance, {stream.instance}, has not applied {position} within {timeout:g} s", (stream.instance,)
            )

        def missing() -> list[str]:
            # past its own bound it serves nothing that was removed before this began, whether it lives or not
            return [
                entry.instance
                for entry in _others(stream)
                if entry.position < position and (entry.bound is None or now() < begun_at + entry.bound)
            ]

        if missing():
            stream.publish(PositionsAsked())
            await _until_not(stream, missing, deadline)
        if left := missing():
            raise BarrierTimeout(f"{', '.join(left)}: not known to have applied {position}", tuple(left))


async def _until_not(stream: InvalidationStream, waiting: Callable[[], object], deadline: float) -> None:
    """Wait until `waiting` is over, or for the loop's time to reach `deadline`."""
    heard = asyncio.Event()
    stream.roster.watchers.add(heard)
    try:
        async with asyncio.timeout_at(deadline):
            while waiting():
                heard.clear()
                # a bound runs out without anybody being heard
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await heard.wait()
    except TimeoutError:
        pass
    finally:
        stream.roster.watchers.discard(heard)


def _others(stream: InvalidationStream) -> list[RosterEntry]:
    return [entry for _, entry in stream.roster.others(stream.origin)]


def _member(entry: RosterEntry, now: float) -> FleetMember:
    return FleetMember(
        instance=entry.instance,
        position=str(entry.position),
        lag=entry.lag,
        silent_seconds=now - entry.heard_at,
        bound=entry.bound,
    )
