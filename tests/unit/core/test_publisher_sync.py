"""A publisher in plain code: whatever interrupts a call, the next one works."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any

import pytest

from async_hybrid_cache import CacheError
from tests.unit.core.scripted_log import ScriptedLog
from tests.unit.core.test_publisher import publisher_on


class TimeLimit(Exception):
    pass


@pytest.fixture
def limit() -> Iterator[None]:
    """In 0.1 s, the main thread is interrupted wherever it is."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("comes_back", [True, False])
def test_after_an_interrupted_opening_it_can_be_used(limit: None, comes_back: bool) -> None:
    log = ScriptedLog()
    log.away = True
    before = threading.active_count()
    publish = publisher_on(log, timeout_seconds=5.0 if comes_back else 0.5).sync()
    with pytest.raises(TimeLimit):
        publish.remove("a")
    if not comes_back:
        publish.close()
        assert threading.active_count() == before
    log.away = False
    assert publish.remove("b").position is not None
    publish.close()
    assert threading.active_count() == before


def test_an_interrupted_call_is_given_up_and_the_next_one_works(limit: None) -> None:
    log = ScriptedLog()
    with publisher_on(log, timeout_seconds=30.0).sync() as publish:
        log.frozen = True
        with pytest.raises(TimeLimit):
            publish.remove("a")
        log.frozen = False
        assert publish.remove("b").position is not None


def test_a_call_that_is_handed_over_while_it_closes_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    publish = publisher_on(ScriptedLog()).sync()
    publish.open()
    looked, ended = threading.Event(), threading.Event()
    hand_over, close_loop = asyncio.run_coroutine_threadsafe, asyncio.SelectorEventLoop.close

    def late(call: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Future[Any]:
        looked.set()
        ended.wait(0.5)
        return hand_over(call, loop)

    def close(loop: asyncio.SelectorEventLoop) -> None:
        ended.set()
        # what is handed over from here on is thrown away with the loop
        threading.Event().wait(0.2)
        close_loop(loop)

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", late)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "close", close)
    answers: list[object] = []

    def call() -> None:
        try:
            answers.append(publish.remove("a"))
        except CacheError as error:
            answers.append(error)

    calling = threading.Thread(target=call, daemon=True)
    calling.start()
    looked.wait()
    publish.close()
    calling.join(5)
    assert answers
