"""Durable subscribers, and what each is owed: every event, in order, by one owner at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from async_hybrid_cache import Delivery, Gap, Position, Subscription
from async_hybrid_cache.ownership.document import _decode as decode_document
from async_hybrid_cache.stream.keeper import decode_checkpoint
from async_hybrid_cache.stream.tail import Loss

from .history import History
from .positions import PositionServer

__all__ = ["FLEET", "Subscribers"]

FLEET = "audit"
_FAILS = 0.05
_NO_GAP: tuple[float, set[str]] = (-1.0, set())
_LOSSES = {loss.value for loss in Loss}


class Subscribers:
    """What every subscriber was told. A subscriber is known by the name under which its position is kept."""

    def __init__(
        self, now: Callable[[], float], held: Callable[[], set[str]], history: History, server: PositionServer
    ) -> None:
        self._now, self._held, self._history, self._server = now, held, history, server
        self._handled: dict[str, set[str]] = {}
        self._gaps: dict[str, tuple[float, set[str]]] = {}
        self._positions: dict[str, tuple[Position, float]] = {}
        self._sessions: dict[int, tuple[Any, dict[str, int], dict[str, int], Position]] = {}
        self.counts = {"told": 0, "told_gaps": 0, "told_again": 0}
        self.begun_at = 0.0
        server.on_save = self._saved

    def handler(
        self, who: str, rng: random.Random, subscription: Callable[[], Subscription]
    ) -> Callable[[Delivery], Awaitable[None]]:
        """A handler that is sometimes slow, and sometimes fails."""

        async def handle(delivery: Delivery) -> None:
            self._begins(who, delivery, subscription())
            await asyncio.sleep(rng.uniform(0, 0.005))
            if rng.random() < _FAILS:
                raise ConnectionError("the handler failed")
            self._ends(who, delivery, subscription())

        return handle

    def missing(self, who: str) -> str | None:
        """An event that was neither handled nor lost before a `Gap`; None where there is none."""
        handled, (gap, held) = self._handled.get(who, set()), self._gaps.get(who, _NO_GAP)
        for id, (at, record) in self._history.events.items():
            owed = at >= self.begun_at and (gap < at or record in held) and record not in self._history.forgotten
            if owed and id not in handled:
                return f"1: {who} was never told of event {id}, in the log since {at:.4f}"
        return None

    def _begins(self, who: str, delivery: Delivery, subscription: Subscription) -> None:
        name = f"subscription/{who}/lease"
        if subscription.per == "fleet" and self._server.writer(name) != subscription._writer:
            self._history.broken.append(f"5: {delivery.id} is handled for {who} by a former owner")
        _, last, contiguous, position = self._sessions.setdefault(
            id(subscription._session), (subscription._session, {}, {}, delivery.position)
        )
        if isinstance(delivery.event, Gap):
            return
        origin, sequence = delivery.id.rsplit(":", 1)
        if int(sequence) <= last.get(origin, 0):
            self._history.broken.append(f"5: {who} is told of {delivery.id} after {origin}:{last[origin]}")
        for between in range(contiguous.get(origin, int(sequence)) + 1, int(sequence)):
            if f"{origin}:{between}" in self._history.events:
                # also where the log forgot it: what was told of its origin shows that something is missing
                self._history.broken.append(f"1: {who} is told of {delivery.id}, and neither of {between} nor of a gap")
        if delivery.position < position:
            self._history.broken.append(f"5: {who} is told of {delivery.position} after {position}")

    def _ends(self, who: str, delivery: Delivery, subscription: Subscription) -> None:
        session, last, contiguous, _ = self._sessions[id(subscription._session)]
        if isinstance(delivery.event, Gap):
            self.counts["told_gaps"] += 1
            contiguous.clear()
            # only after a loss is all told that the log holds: behind a hole nobody knows what was read
            lost = delivery.event.reason in _LOSSES
            self._gaps[who] = self._now(), self._held() if lost else set()
        else:
            origin, sequence = delivery.id.rsplit(":", 1)
            last[origin] = contiguous[origin] = int(sequence)
            handled = self._handled.setdefault(who, set())
            self.counts["told_again" if delivery.id in handled else "told"] += 1
            handled.add(delivery.id)
        self._sessions[id(session)] = session, last, contiguous, delivery.position

    def _saved(self, name: str, data: bytes) -> None:
        if not name.startswith("subscription/") or name.endswith("/lease"):
            return
        kept = decode_checkpoint(decode_document(data).body)
        assert kept is not None
        who, position = name.split("/")[1], Position(kept.epoch, kept.offset)
        before, at = self._positions.get(name, (position, 0.0))
        if position < before and self._gaps.get(who, _NO_GAP)[0] < at:
            self._history.broken.append(f"5: the position of {who} went back from {before} to {position}")
        self._positions[name] = position, self._now()
