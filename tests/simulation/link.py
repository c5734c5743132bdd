"""What lies between one instance and one server: delays, cuts, stalls, lost and doubled messages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from async_hybrid_cache import CacheError

from .process import OUTSIDE

__all__ = ["Link"]

T = TypeVar("T")
_WAY_SECONDS = 0.002
_LATE_SECONDS = 1.0


class Link:
    """Carries requests there and answers back. What was sent arrives, even where its sender has given up by then.

    `cut` fails at once, `stall` holds everything until the link is healed, `half_open` lets requests through and no
    answer back; `drops`, `loses` and `doubles` are chances of losing a request, losing an answer, and of a request
    arriving a second time, up to a second later. `killed` is for good.
    """

    def __init__(self, rng: random.Random, failure: type[CacheError]) -> None:
        self._rng = rng
        self._failure = failure
        self.killed = False
        self._held: list[Callable[[], None]] = []
        self.heal()

    def heal(self) -> None:
        """Everything passes from now on; what was held arrives, and what went unanswered stays so."""
        self.cut = self.stalled = self.half_open = False
        self.slow = self.drops = self.loses = self.doubles = 0.0
        held, self._held = self._held, []
        for arrive in held:
            arrive()

    @property
    def healthy(self) -> bool:
        return not (self.cut or self.stalled or self.half_open or self.slow or self.drops or self.loses or self.doubles)

    async def ask(self, serve: Callable[[], T | asyncio.Future[T]]) -> T:
        """Have the server do `serve`, and wait for its answer."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self.killed:
            raise self._failure("killed")
        self._pass(lambda: self._arrived(serve, answer))
        return await answer

    def tell(self, hear: Callable[[], None]) -> None:
        """Carry what the server says unasked."""
        self._pass(lambda: None if self.cut or self.half_open or self.killed or self._happens(self.loses) else hear())

    def _pass(self, arrive: Callable[[], None], seconds: float = _WAY_SECONDS) -> None:
        way = self._rng.uniform(0, seconds + self.slow)
        asyncio.get_running_loop().call_later(way, self._end_of_way, arrive, context=OUTSIDE)

    def _end_of_way(self, arrive: Callable[[], None]) -> None:
        if self.stalled:
            self._held.append(arrive)
        else:
            arrive()

    def _arrived(self, serve: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        if self.cut or self._happens(self.drops):
            self._fail(answer, "the request was lost")
            return
        if self._happens(self.doubles):
            self._pass(lambda: self._again(serve), _LATE_SECONDS)
        try:
            served = serve()
        except CacheError as error:
            refusal = error
            self._pass(lambda: self._back(lambda: answer.set_exception(refusal), answer))
            return
        if isinstance(served, asyncio.Future):
            served.add_done_callback(lambda done: self._answer(done, answer))
        else:
            self._pass(lambda: self._back(lambda: answer.set_result(served), answer))

    def _answer(self, served: asyncio.Future[Any], answer: asyncio.Future[Any]) -> None:
        error = served.exception()
        settle = (lambda: answer.set_exception(error)) if error else (lambda: answer.set_result(served.result()))
        self._pass(lambda: self._back(settle, answer))

    def _again(self, serve: Callable[[], Any]) -> None:
        try:
            served = serve()
        except CacheError:
            return
        if isinstance(served, asyncio.Future):
            served.add_done_callback(asyncio.Future.exception)

    def _back(self, settle: Callable[[], None], answer: asyncio.Future[Any]) -> None:
        if answer.done() or self.half_open:
            return
        if self.cut or self.killed or self._happens(self.loses):
            self._fail(answer, "the answer was lost")
        else:
            settle()

    def _fail(self, answer: asyncio.Future[Any], why: str) -> None:
        if not answer.done() and not self.half_open:
            answer.set_exception(self._failure(why))

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._rng.random() < chance
