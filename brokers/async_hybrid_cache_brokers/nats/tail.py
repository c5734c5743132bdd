"""Following a stream by pulls: what nats-py's own consumers lose, repeat or wait out is taken into account here."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from async_hybrid_cache.errors import PositionLost
from async_hybrid_cache.positions import Position, Record

from .layout import Marker, record_id
from .stream import Stream

__all__ = ["Tail"]

_PULL = 1000
_PULL_BYTES = 8 * 1024 * 1024  # more than any record, and so the end of a pull at worst
_PULL_SECONDS = 30
_KEPT_SECONDS = 60
_NANOSECONDS = 1_000_000_000

# the ways a pull ends that mean nothing but that it ended
_PULL_ENDED = ("404", "408", "409 Batch Completed", "409 Message Size Exceeds MaxBytes")


class Tail:
    """An ephemeral consumer at one place of the log, with the messages that it was sent ahead of being asked.

    At most two pulls are under way, which bounds what is buffered. Ends for good where the server ends it.
    """

    def __init__(self, stream: Stream, marker: Marker, start: Position, head: int) -> None:
        self._stream = stream
        self._connection = connection = stream.connection
        self._layout = stream.layout
        self._marker = marker
        self._consumer = uuid4().hex
        self._inbox = connection.new_inbox()
        self._subscription: Subscription | None = None
        self._messages: deque[Msg] = deque()
        self._owed = 0
        self._news: asyncio.Future[None] | None = None
        self.next = start
        self.head = head
        """The last offset that is known to have been written."""
        self.ended: str | None = "it has not begun"
        """Why nothing comes any more; None while it does."""

    async def begin(self) -> None:
        """Have the server make the consumer. Raises the driver's errors."""
        self._subscription = await self._connection.subscribe(self._inbox, self._receive)
        config = {
            "name": self._consumer,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._marker.sequence + self.next.offset,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _KEPT_SECONDS * _NANOSECONDS,
        }
        name = self._layout.name
        request = {"stream_name": name, "config": config, "action": "create"}
        await self._stream.ask(f"CONSUMER.CREATE.{name}.{self._consumer}", request)
        self.ended = None

    async def end(self) -> None:
        """Let the server forget the consumer, without waiting for it. Raises the driver's errors."""
        self.ended = "it is not needed any more"
        self._wake()
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._connection.alive:
            await subscription.unsubscribe()
            await self._connection.send(f"$JS.API.CONSUMER.DELETE.{self._layout.name}.{self._consumer}")

    async def take(self, limit: int, seconds: float) -> list[Record]:
        """The next records, at most `limit`; none after `seconds`, or once the consumer has ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            if self.ended is None and self._owed + len(self._messages) <= _PULL:
                await self._pull()
            if self._messages or self.ended is not None:
                break
            news = self._news = loop.create_future()
            try:
                await self._connection.wait(news, deadline - loop.time())
            except TimeoutError:
                break
        return [self._record(self._messages.popleft()) for _ in range(min(limit, len(self._messages)))]

    async def _pull(self) -> None:
        pull = {"batch": _PULL, "max_bytes": _PULL_BYTES, "expires": _PULL_SECONDS * _NANOSECONDS}
        self._owed += _PULL
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._layout.name}.{self._consumer}"
        await self._connection.send(subject, json.dumps(pull).encode(), reply_to=self._inbox)

    def _receive(self, message: Msg) -> None:
        if message.reply:
            self._owed -= 1
            self._messages.append(message)
        else:
            self._note(message.headers or {})
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _note(self, headers: Mapping[str, Any]) -> None:
        status = f"{headers.get('Status', '')} {headers.get('Description', '')}"
        if status.startswith(_PULL_ENDED):
            self._owed -= int(headers.get("Nats-Pending-Messages", _PULL))
        elif not status.startswith("100"):
            self.ended = status

    def _record(self, message: Msg) -> Record:
        sequence = _stream_sequence(message.reply)
        position, self.next = self.next, self.next._replace(offset=self.next.offset + 1)
        if sequence != self._marker.sequence + position.offset or message.subject != self._layout.events:
            self.ended = "the log went on elsewhere"
            raise PositionLost(f"the stream {self._layout.name!r} no longer holds {position}")
        return Record(position, record_id((message.headers or {}).get("Nats-Msg-Id", "")), message.data)


def _stream_sequence(reply: str) -> int:
    """From `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>...`, or with domain and account in front."""
    tokens = reply.split(".")
    return int(tokens[5 if len(tokens) == 9 else 7])
