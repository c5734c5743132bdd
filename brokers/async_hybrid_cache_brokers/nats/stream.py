"""The stream as the server has it: its making, its marker, where it begins and ends."""

from __future__ import annotations

import asyncio
import base64
import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nats.errors import NoRespondersError
from nats.js.errors import APIError

from async_hybrid_cache.errors import LogRefused, LogUnavailable, PositionLost
from async_hybrid_cache.positions import Bounds, Position, Record

from .client import Connection
from .entry import AccessRefused
from .failures import COMPARING, MESSAGE_MISSING, NAME_IN_USE, STREAM_MISSING, WRONG_SEQUENCE
from .layout import Layout, Marker, message_id, record_id

__all__ = ["Stream"]

_ANSWER_SECONDS = (0.3, 0.6, 1.2, 2.4)
_ATTEMPTS = 20
_PAUSE_SECONDS = 0.005

_MESSAGE_ID = re.compile(r"^Nats-Msg-Id:[ \t]*(.*?)[ \t]*\r$", re.MULTILINE | re.IGNORECASE)


class Stream:
    """The stream of `layout`, over `connection`. Raises the errors of both, and those of an `EventLog`."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self.connection = connection
        self.layout = layout

    async def ensure(self, retention: int, replicas: int) -> None:
        """Create the stream where there is none, and refuse one that would break a promise."""
        for _ in range(_ATTEMPTS):
            try:
                settings = (await self._ask("INFO"))["config"]
            except APIError as error:
                if error.err_code != STREAM_MISSING:
                    raise
                await self._create(retention, replicas)
                continue
            if flaws := self.layout.flaws(settings):
                raise LogRefused(f"the stream {self.layout.name!r} cannot be the log: {flaws}")
            return
        raise LogUnavailable(f"the stream {self.layout.name!r} vanishes as soon as it is created")

    async def begin(self, above: int, seen: int) -> Marker:
        """The marker of an epoch larger than `above`; where there is none, a new one that is larger than `seen` too.

        Of many that begin one at once a single one succeeds, since each makes it a condition that the marker it
        saw is still the newest.
        """
        for _ in range(_ATTEMPTS):
            newest = await self.newest_marker()
            if newest is not None and newest.epoch > above:
                return (await self.survey())[0]
            before = newest or Marker(0, 0)
            epoch = max(time.time_ns() // 1000, above + 1, seen + 1, before.epoch + 1)
            try:
                answer = await self.connection.call(
                    self.layout.epoch, str(epoch).encode(), self.layout.only_after(before)
                )
            except APIError as error:
                if error.err_code not in (WRONG_SEQUENCE, COMPARING):
                    raise
                await asyncio.sleep(_PAUSE_SECONDS * random.random())
                continue
            marker = Marker(int(answer["seq"]), epoch)
            await self._purge(marker)
            return marker
        raise LogUnavailable(f"too many begin the stream {self.layout.name!r} anew")

    async def publish(self, marker: Marker, record: bytes, id: str) -> int:
        """Store a record on condition that `marker` is the newest; returns its offset. `PositionLost` where not."""
        headers = {"Nats-Msg-Id": message_id(marker.epoch, id)}
        lost = f"epoch {marker.epoch} of the stream {self.layout.name!r} is gone"
        try:
            answer = await self.connection.call(self.layout.events, record, headers | self.layout.only_after(marker))
        except NoRespondersError:
            await self.survey()  # PositionLost where the stream is gone
            raise
        except APIError as error:
            if error.err_code == WRONG_SEQUENCE:
                raise PositionLost(lost) from error
            if error.err_code != COMPARING:
                raise
            # the server did not look, so we do, afterwards
            answer = await self.connection.call(self.layout.events, record, headers)
            if await self.newest_marker() != marker:
                raise PositionLost(lost) from error
        offset = int(answer["seq"]) - marker.sequence
        if offset < 1:
            raise PositionLost(lost)
        return offset

    async def newest_marker(self) -> Marker | None:
        """The marker that counts; None where there is none."""
        try:
            message = (await self._ask("MSG.GET", {"last_by_subj": self.layout.epoch}))["message"]
        except APIError as error:
            if error.err_code == MESSAGE_MISSING:
                return None
            raise
        digits = base64.b64decode(message.get("data", ""))
        if not digits.isdigit():
            raise LogRefused(f"the stream {self.layout.name!r} holds messages of another program; choose another")
        return Marker(int(message["seq"]), int(digits))

    async def survey(self) -> tuple[Marker, Bounds]:
        """Marker and bounds as they are now, asked of the stream's leader; `PositionLost` where there are none."""
        for attempt in range(_ATTEMPTS):
            state = (await self._ask("INFO"))["state"]
            marker = await self.newest_marker()
            if marker is None:
                break
            if marker.sequence == state["first_seq"]:
                last = state["last_seq"] - marker.sequence
                return marker, Bounds(marker.epoch, last - state["messages"] + 2, last)
            if attempt:  # who published it went away before purging
                await self._purge(marker)
            else:
                await asyncio.sleep(_PAUSE_SECONDS)
        raise PositionLost(f"the stream {self.layout.name!r} has no epoch")

    async def held(self, start: Position) -> tuple[Marker, Bounds]:
        """The same, where `start` is held or comes next; else `PositionLost`."""
        marker, bounds = await self.survey()
        if start.epoch != bounds.epoch or not bounds.first <= start.offset <= bounds.last + 1:
            raise PositionLost(f"the stream {self.layout.name!r} does not hold {start}")
        return marker, bounds

    async def fetch(self, start: Position) -> Record | None:
        """The record at `start`; None where it comes next."""
        marker, bounds = await self.held(start)
        if start.offset > bounds.last:
            return None
        message = (await self._ask("MSG.GET", {"seq": marker.sequence + start.offset}))["message"]
        found = _MESSAGE_ID.search(base64.b64decode(message.get("hdrs", "")).decode(errors="replace"))
        return Record(start, record_id(found[1]) if found else "", base64.b64decode(message.get("data", "")))

    async def ask(self, operation: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of JetStream's API to what may be asked twice."""
        for seconds in _ANSWER_SECONDS:
            # in a cluster nobody answers for what is being made, or has no leader
            with suppress(TimeoutError):
                return await self.connection.api(operation, request, seconds)
        raise LogUnavailable(f"nobody answers for the stream {self.layout.name!r}")

    async def _create(self, retention: int, replicas: int) -> None:
        # by beginning at the time, a sequence is none of a stream of this name that was deleted
        settings = self.layout.settings(retention, replicas, time.time_ns() // 1000)
        try:
            await self.connection.api(f"STREAM.CREATE.{self.layout.name}", settings)
        except AccessRefused as error:
            raise LogRefused(
                f"no permission to create the stream {self.layout.name!r}; have somebody create it, on files, with "
                f"the subjects {self.layout.events} and {self.layout.epoch}, max_msgs_per_subject={retention} and a "
                "duplicate window of 2 minutes"
            ) from error
        except APIError as error:
            if error.err_code == NAME_IN_USE:  # somebody was quicker
                return
            if error.code == 503:
                raise
            raise LogRefused(f"the stream {self.layout.name!r} cannot be created: {error.description}") from error

    async def _purge(self, marker: Marker) -> None:
        if marker.sequence > 1:  # to some servers, up to 1 means everything
            await self._ask("PURGE", {"seq": marker.sequence})

    async def _ask(self, question: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await self.ask(f"STREAM.{question}.{self.layout.name}", request)
