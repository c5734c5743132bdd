"""What waits for the log, on disk: it outlives the process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from async_hybrid_cache_codecs.events import Event
from async_hybrid_cache_codecs.frames import SealedFrame, open_frame

from ..errors import DecodeError, OutboxError
from .records import Acknowledged, Closed, Content, Noted, Opened, Sealed, encode
from .slot import Slot, claim_left, claim_own

__all__ = ["Journal", "Recovered"]

_REWRITE_BYTES = 1024 * 1024
_RETRY_SECONDS = 1.0


class Recovered(NamedTuple):
    """What earlier processes left: frames whose fate is open, and events by the number that each has now."""

    frames: list[SealedFrame]
    events: list[tuple[int, Event]]


class Journal:
    """Mirrors what waits in memory, and writes every change of it behind the last one.

    A file that has grown is replaced by what is left of it, and so is one that could not be written to: until then
    `broken` tells why, and what waits is in memory alone. Writes are made in a thread, those that came during one
    together with the next.
    """

    def __init__(
        self, folder: str, log: str, *, seconds: float, on_change: Callable[[OutboxError | None], None]
    ) -> None:
        self._folder = Path(folder)
        self._log = log
        self._seconds = seconds
        self._on_change = on_change
        self._numbers = itertools.count(1)
        self._notes: dict[int, bytes] = {}
        self._frames: dict[str, SealedFrame] = {}
        self._slot: Slot | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._following = False
        self._waiting: list[bytes] = []
        self._unsynced = False
        self._asked = 0
        self._kept = 0
        self._left_bytes = 0
        self._flushing: asyncio.Task[None] | None = None
        self._turn: asyncio.Future[None] | None = None
        self.broken: OutboxError | None = None
        self.errors = 0

    # -- changes of what waits; none of them waits -----------------------------------------------------------

    def note(self, event: Event) -> int:
        """`event` has to be deleted in L2 and announced, from now until `close` or `acknowledged`.

        Raises `EncodeError` e.g. for text that is not UTF-8.
        """
        number = next(self._numbers)
        self._notes[number] = data = encode(Noted(number, event))
        self._write(data)
        return number

    def close(self, numbers: Iterable[int]) -> None:
        """These need nothing more."""
        closed = tuple(number for number in numbers if self._notes.pop(number, None) is not None)
        if closed:
            self._write(encode(Closed(closed)), sync=False)

    def seal(self, frame: SealedFrame, numbers: tuple[int, ...]) -> None:
        """`frame` takes the events of these numbers along, and may be in the log from now on."""
        for number in numbers:
            self._notes.pop(number, None)
        self._frames[frame.id] = frame
        self._write(encode(Sealed(frame.id, frame.data, numbers)))

    def acknowledged(self, frame_id: str) -> None:
        """That frame is in the log, or was taken back."""
        if self._frames.pop(frame_id, None) is not None:
            self._write(encode(Acknowledged(frame_id)), sync=False)

    async def kept(self) -> None:
        """Wait until all that was noted and sealed so far is on disk, for a bounded time; see `broken`."""
        asked = self._asked
        try:
            async with asyncio.timeout(self._seconds):
                while self._kept < asked and self.broken is None and self._turn is not None:
                    await asyncio.shield(self._turn)
        except TimeoutError:
            self._break(self._too_slow())

    # -- life ------------------------------------------------------------------------------------------------

    async def open(self, instance: str) -> Recovered:
        """Claim a file of this process for `instance`, and take over what ended processes left in the folder.

        Raises `OutboxError` where nothing can be kept there.
        """
        opening = asyncio.ensure_future(self._open(instance))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait({opening})  # what it claims has to be given back by `end`
            raise

    async def end(self) -> bool:
        """Leave what waits to the next process that starts; False where it is in memory alone."""
        if self._slot is None:
            return False
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.wait({self._flushing})
        ending = asyncio.ensure_future(asyncio.to_thread(self._end, self._whole()))
        done, _ = await asyncio.wait({ending}, timeout=self._seconds)
        return self._ended(ending.result() if done else self._too_slow())

    def end_now(self) -> bool:
        """`end`, where the loop that this was used in is gone."""
        return self._slot is not None and self._ended(self._end(self._whole()))

    def forked(self) -> None:
        """In the child of a fork: what waits is the parent's."""
        if self._slot is not None:
            self._slot.release()
        self._slot = self._thread = None
        self._forget()

    async def _open(self, instance: str) -> Recovered:
        self._thread = thread = ThreadPoolExecutor(1, "ahc-outbox")
        loop = asyncio.get_running_loop()
        try:
            own, *left = await loop.run_in_executor(thread, self._claim, instance)
            recovered = self._adopt([content for _, content in (own, *left)])
            data, asked = self._whole(), self._asked
            await loop.run_in_executor(thread, _take_over, data, own[0], [slot for slot, _ in left])
        except OSError as error:
            self._thread = None
            thread.shutdown(wait=False)
            raise self._failed(error) from error
        self._slot, self._kept = own[0], asked
        if self._waiting:
            self._flush_soon()
        return recovered

    def _end(self, data: bytes) -> OutboxError | None:
        """In a thread, or where nothing else runs."""
        slot, self._slot = self._slot, None
        thread, self._thread = self._thread, None
        assert slot is not None
        assert thread is not None
        thread.shutdown(wait=True)
        try:
            if self._notes or self._frames:
                slot.replace(data)
            else:
                slot.remove()
        except OSError as error:
            return self._failed(error)
        finally:
            slot.release()
        return None

    def _ended(self, failure: OutboxError | None) -> bool:
        self._turn = self._flushing = None
        if failure is not None:
            self._break(failure)
            return False
        self._forget()
        return True

    def _forget(self) -> None:
        self._following = False
        for kept in (self._notes, self._frames, self._waiting):
            kept.clear()

    def _claim(self, instance: str) -> list[tuple[Slot, Content]]:
        self._folder.mkdir(parents=True, exist_ok=True)
        claimed = [claim_own(self._folder, instance, self._log)]
        try:
            claimed.extend(claim_left(self._folder, self._log))
        except BaseException:
            for slot, _ in claimed:
                slot.release()
            raise
        return claimed

    def _adopt(self, contents: list[Content]) -> Recovered:
        recovered = Recovered([], [])
        for content in contents:
            for sealed in content.frames:
                frame = self._frames[sealed.id] = _frame(sealed)
                recovered.frames.append(frame)
            for event in content.events:
                recovered.events.append((self.note(event), event))
        return recovered

    # -- writing ---------------------------------------------------------------------------------------------

    def _write(self, record: bytes, *, sync: bool = True) -> None:
        if not self._following:
            return
        self._waiting.append(record)
        self._asked += sync
        self._unsynced = self._unsynced or sync
        if self._slot is not None:
            self._flush_soon()

    def _whole(self) -> bytes:
        """All that waits; what changes from now on is written behind it."""
        self._waiting.clear()
        self._unsynced = False
        self._following = True
        frames = [encode(Sealed(frame.id, frame.data, ())) for frame in self._frames.values()]
        data = b"".join([encode(Opened(self._log)), *frames, *self._notes.values()])
        self._left_bytes = len(data)
        return data

    def _flush_soon(self) -> None:
        if self._flushing is None or self._flushing.done():
            loop = asyncio.get_running_loop()
            self._turn = loop.create_future()
            self._flushing = loop.create_task(self._flush(), name="async-hybrid-cache outbox")

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        failed = False
        while self._waiting or failed:
            asked = self._asked
            slot, thread = self._slot, self._thread
            assert slot is not None
            assert thread is not None
            try:
                if failed or slot.size > max(_REWRITE_BYTES, 2 * self._left_bytes):
                    await loop.run_in_executor(thread, slot.replace, self._whole())
                else:
                    data, sync = b"".join(self._waiting), self._unsynced
                    self._waiting.clear()
                    self._unsynced = False
                    await loop.run_in_executor(thread, partial(slot.append, data, sync=sync))
            except OSError as error:
                failed = True
                self._break(self._failed(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            failed = False
            self._kept = asked
            self._mend()
            self._next_turn()

    def _next_turn(self) -> None:
        turn, self._turn = self._turn, asyncio.get_running_loop().create_future()
        if turn is not None and not turn.done():
            turn.set_result(None)

    def _break(self, error: OutboxError) -> None:
        self.errors += 1
        self.broken = error
        self._on_change(error)
        if self._turn is not None:
            self._next_turn()

    def _mend(self) -> None:
        if self.broken is not None:
            self.broken = None
            self._on_change(None)

    def _too_slow(self) -> OutboxError:
        return OutboxError(f"the outbox cannot be kept in {self._folder}: no answer within {self._seconds:g} s")

    def _failed(self, error: OSError) -> OutboxError:
        return OutboxError(f"the outbox cannot be kept in {self._folder}: {error.strerror or error}")


def _take_over(data: bytes, own: Slot, left: list[Slot]) -> None:
    """Write `data`, which holds what all of them held, to `own`, and only then let the others go."""
    try:
        own.replace(data)
    except BaseException:
        for slot in (own, *left):
            slot.release()
        raise
    for slot in left:
        try:
            with suppress(OSError):  # then it is found and sent once more, which does no harm
                slot.remove()
        finally:
            slot.release()


def _frame(sealed: Sealed) -> SealedFrame:
    try:
        opened = open_frame(sealed.data)
    except DecodeError:
        return SealedFrame(sealed.id, sealed.data, 1, ())  # of a newer release, whose readers may know it
    return SealedFrame(sealed.id, sealed.data, opened.first, tuple(e for e in opened.events if isinstance(e, Event)))
