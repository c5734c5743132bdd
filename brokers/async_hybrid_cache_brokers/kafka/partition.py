"""Reading the partition: offsets, entries, and which epoch is in force."""

from __future__ import annotations

from typing import Any

from aiokafka.errors import OffsetOutOfRangeError, ReplicaNotAvailableError  # type: ignore[import-untyped]
from aiokafka.protocol.fetch import FetchRequest  # type: ignore[import-untyped]
from aiokafka.protocol.offset import OffsetRequest  # type: ignore[import-untyped]

from .epochs import Claim, Entry, View
from .failures import check
from .link import CALL_SECONDS, Link
from .records import entries

__all__ = ["Partition"]

_CONSUMER = -1
_UNCOMMITTED = 0
_LATEST, _EARLIEST = -1, -2
_SCAN_BYTES = 4 * 1024 * 1024
_SURVEYED = 32  # entries, to begin with


class Partition:
    """Partition 0 of a topic, over whatever link is given. Errors are the driver's."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    async def fetch(self, link: Link, start: int, *, max_bytes: int, wait: float = 0.0) -> list[Entry]:
        """Entries from `start` on, or none after `wait` seconds; one larger than `max_bytes` comes alone."""
        seconds = max(wait, 0.0)
        request = self._fetch_request(start, max_bytes, round(seconds * 1000))
        reply = await link.call(request, seconds=seconds + CALL_SECONDS)
        return _fetched(reply, start)[0]

    async def begin(self, link: Link) -> int:
        """The first offset that the partition holds, or would hold."""
        reply = await link.call(self._offsets_request(_EARLIEST))
        return _offset(reply)

    async def refresh(self, link: Link, view: View) -> tuple[View, int]:
        """`view`, advanced to the end of the log, and that end; a new view where the log is not the one it knew."""
        start, anchor = view.verified, view.anchor  # others may advance it meanwhile
        reply = await link.call(self._fetch_request(start, _SCAN_BYTES, 0))
        try:
            found, end = _fetched(reply, start)
        except OffsetOutOfRangeError:
            begin, end = await self._span(link)
            if not anchor or not begin == start + 1 <= end:
                return await self.survey(link)
            # all that was verified has aged out, and nothing that follows it
        else:
            if end <= start and await self._reaches(link, start + 1):
                raise ReplicaNotAvailableError("a leader that does not know yet how far the log is replicated")
            if not found or (found[0].offset, found[0].id) != (start, anchor):
                return await self.survey(link)
            view.advance(found)
        await self._scan(link, view, end)
        return view, end

    async def survey(self, link: Link) -> tuple[View, int]:
        """The view by the log alone: from a claim near the end that can be believed, and what follows it."""
        begin, end = await self._span(link)
        stop, width = end, _SURVEYED
        while stop > begin:
            start = max(begin, stop - width)
            found = await self._range(link, start, stop)
            # the newest epoch first: a writer that had not heard of it yet may have come last
            claims = sorted((claim.epoch, entry.offset, claim) for entry in found if (claim := entry.trusted))
            for _, _, claim in reversed(claims):
                if claim.verified + 1 >= begin and await self._holds(link, claim, begin):
                    view = View(claim)
                    await self._scan(link, view, end)
                    return view, end
            stop, width = start, width * 16
        return View(Claim(0, -1, end - 1)), end

    async def _reaches(self, link: Link, offset: int) -> bool:
        """Whether `offset` is in the log or next, though perhaps not for readers yet."""
        try:
            await self.fetch(link, offset, max_bytes=1)
        except OffsetOutOfRangeError:
            return False
        return True

    async def _span(self, link: Link) -> tuple[int, int]:
        end = _offset(await link.call(self._offsets_request(_LATEST)))
        return min(await self.begin(link), end), end

    async def _holds(self, link: Link, claim: Claim, begin: int) -> bool:
        """Whether the marker that a claim names is there, where it can still be."""
        if claim.epoch == 0 or claim.base < begin:
            return True
        found = await self.fetch(link, claim.base, max_bytes=1)
        return bool(found) and found[0].offset == claim.base and found[0].marker == claim.epoch

    async def _scan(self, link: Link, view: View, end: int) -> None:
        while view.verified + 1 < end:
            before = view.verified
            view.advance(await self.fetch(link, before + 1, max_bytes=_SCAN_BYTES))
            if view.verified == before:
                raise OffsetOutOfRangeError(f"nothing at offset {before + 1}")

    async def _range(self, link: Link, start: int, stop: int) -> list[Entry]:
        found: list[Entry] = []
        while start < stop:
            step = await self.fetch(link, start, max_bytes=_SCAN_BYTES)
            if not step:
                break
            found += (entry for entry in step if entry.offset < stop)
            start = step[-1].offset + 1
        return found

    def _offsets_request(self, which: int) -> OffsetRequest:
        return OffsetRequest(_CONSUMER, _UNCOMMITTED, [(self._topic, [(0, which)])])

    def _fetch_request(self, start: int, max_bytes: int, wait_ms: int) -> FetchRequest:
        return FetchRequest(wait_ms, 1, max_bytes, _UNCOMMITTED, [(self._topic, [(0, start, max_bytes)])])


def _offset(reply: Any) -> int:
    ((_, ((_, code, *_, offset),)),) = reply.topics
    check(code)
    return int(offset)


def _fetched(reply: Any, start: int) -> tuple[list[Entry], int]:
    if not reply.topics:
        return [], 0
    ((_, ((_, code, end, *_, data),)),) = reply.topics
    check(code)
    return entries(data, start), int(end)
