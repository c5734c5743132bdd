"""One change: the order in which it reaches the outbox on disk, L1, L2, L1 again and the log."""

from __future__ import annotations

from collections.abc import Callable

from async_hybrid_cache_codecs.events import KeysChanging

from .joint import L2Change, Leased
from .late import Removal
from .lifecycle import Lifecycle
from .receipt import Receipt
from .shared import SharedTier
from .stream import InvalidationStream, Pending

__all__ = ["Write"]


class Write:
    """`event` tells the others of it, `change` is what it does in L2, and `fence` what it does to L1.

    L2 comes before the announcement, or another instance would read the old value back, and L1 again after L2, since
    a local read may have copied the old value between the two. Where L2 and log are changed in one step, that comes
    last, and its acknowledgement drops such a copy.
    """

    __slots__ = ("_change", "_event", "_fence", "_l2", "_lifecycle", "_stream", "pending", "token")

    def __init__(
        self,
        lifecycle: Lifecycle,
        l2: SharedTier | None,
        stream: InvalidationStream | None,
        event: Removal | KeysChanging,
        change: L2Change,
        fence: Callable[[], None],
    ) -> None:
        self._lifecycle = lifecycle
        self._l2 = l2
        self._stream = stream
        self._event = event
        self._change = change
        self._fence = fence
        self.pending: Pending | None = None
        self.token: str | None = None
        """The lease that it took in L2, if it did; complete after `receipt`."""

    async def begin(self) -> None:
        """Do everything but wait for the log; the announcement is queued whatever happens."""
        self._lifecycle.check()
        stream, l2 = self._stream, self._l2
        note = stream.note(self._event) if stream else None
        jointly = l2 is not None and stream is not None and stream.joins
        self._lifecycle.changing += 1
        self._fence()
        try:
            if l2 and not jointly:
                self.token = await l2.change(self._change)
        finally:
            # also where the caller was cancelled: the data may have changed, and the others must hear of it
            self._fence()
            if stream:
                self.pending = stream.publish(self._event, note, self._change if jointly else None)
            self._lifecycle.changing -= 1

    async def receipt(self) -> Receipt:
        """Wait for the log; what was to be done in L2 with it, and was not, is left to be done later.

        Raises as `Lifecycle.receipt` does.
        """
        pending, l2 = self.pending, self._l2
        jointly = pending is not None and pending.owed
        try:
            return await self._lifecycle.receipt(pending)
        finally:
            if pending is not None and l2 is not None and pending.owed:
                l2.later(self._change)
            elif jointly and isinstance(self._change, Leased):
                self.token = self._change.token
