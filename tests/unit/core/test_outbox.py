"""The outbox: order, sealing, coarsening."""

from __future__ import annotations

import asyncio
import random

import pytest

from async_hybrid_cache import EncodeError
from async_hybrid_cache.positions import Position
from async_hybrid_cache.stream.outbox import Outbox
from async_hybrid_cache_codecs.events import (
    CacheCleared,
    Event,
    InstanceStarted,
    KeysExpired,
    KeysRemoved,
    ScopeCleared,
)
from async_hybrid_cache_codecs.frames import SealedFrame


def outbox(most: int = 1000, *, events: int = 512, size: int = 10_000) -> Outbox:
    return Outbox(most, events, size)


def sent(box: Outbox) -> list[Event]:
    """Everything that goes out from now on."""
    events: list[Event] = []
    while frame := box.frame(1, "o", len(events) + 1, 0):
        assert frame.first == len(events) + 1
        events.extend(frame.events)
        box.acknowledged(Position(1, len(events)))
    return events


def removed(*keys: str, scope: str = "s") -> KeysRemoved:
    return KeysRemoved(scope, keys)


def covers(event: Event, scope: str, key: str) -> bool:
    match event:
        case CacheCleared():
            return True
        case ScopeCleared():
            return event.scope == scope
        case KeysRemoved() | KeysExpired():
            return event.scope == scope and key in event.keys
    return False


def test_events_leave_in_order() -> None:
    box = outbox(events=3)
    events: list[Event] = [removed(str(number)) for number in range(10)]
    for event in events:
        box.add(event)
    assert len(box) == 10
    assert sent(box) == events
    assert len(box) == 0


def test_what_waits_is_everything_that_is_not_acknowledged() -> None:
    box = outbox(events=1)
    box.add(removed("1"))
    box.add(removed("2"))
    assert box.frame(1, "o", 1, 0) is not None
    assert box.waiting() == [removed("1"), removed("2")]
    box.acknowledged(Position(1, 1))
    assert box.waiting() == [removed("2")]


def test_a_sealed_frame_stays_as_it_is_until_it_is_acknowledged() -> None:
    box = outbox()
    box.add(removed("1"))
    frame = box.frame(1, "o", 1, 0)
    box.add(removed("2"))
    assert box.frame(7, "other", 99, 5) is frame
    assert len(box) == 2
    box.acknowledged(Position(1, 1))
    following = box.frame(1, "o", 2, 0)
    assert isinstance(following, SealedFrame)
    assert following.events == (removed("2"),)


def test_a_full_outbox_coarsens_keys_to_scopes_and_then_to_everything() -> None:
    box = outbox(5)
    for number in range(5):
        box.add(removed(str(number), scope="a"))
    assert box.coarsened == 0
    box.add(removed("5", scope="b"))
    assert (len(box), box.coarsened) == (2, 1)
    assert sent(box) == [ScopeCleared("a"), ScopeCleared("b")]
    for number in range(7):
        box.add(ScopeCleared(f"scope {number}"))
    assert sent(box) == [CacheCleared(), ScopeCleared("scope 6")]


def test_many_keys_in_one_event_weigh_as_many() -> None:
    box = outbox(100)
    box.add(removed(*map(str, range(101))))
    assert sent(box) == [ScopeCleared("s")]


@pytest.mark.parametrize("seed", range(20))
def test_coarsening_never_drops_and_never_goes_back_in_time(seed: int) -> None:
    rng = random.Random(seed)
    box = outbox(rng.choice([1, 3, 10, 40]), events=rng.choice([1, 4, 512]))
    log: list[Event] = []
    changes: list[tuple[int, str, str]] = []
    for _ in range(300):
        scope, key = rng.choice("abcd"), str(rng.randrange(20))
        # whatever is in the log by now was said before this change, and does not count for it
        changes.append((len(log), scope, key))
        box.add(rng.choice([removed, lambda k, scope: KeysExpired(scope, (k,))])(key, scope=scope))
        if rng.random() < 0.1 and (frame := box.frame(1, "o", len(log) + 1, 0)):
            sealed_before = len(log)
            log.extend(frame.events)
            box.acknowledged(Position(1, len(log)))
            assert sealed_before < len(log)
    log.extend(sent_from(box, len(log)))
    for since, scope, key in changes:
        assert any(covers(event, scope, key) for event in log[since:]), (scope, key)


def sent_from(box: Outbox, done: int) -> list[Event]:
    events: list[Event] = []
    while frame := box.frame(1, "o", done + len(events) + 1, 0):
        events.extend(frame.events)
        box.acknowledged(Position(1, done + len(events)))
    return events


def test_everybody_whose_event_was_coarsened_hears_of_the_acknowledgement() -> None:
    async def scenario() -> None:
        box = outbox(3)
        pendings = [box.add(removed(str(number))) for number in range(10)]
        waiting = [asyncio.create_task(pending.wait(5)) for pending in pendings]
        await asyncio.sleep(0)
        sent(box)
        positions = await asyncio.gather(*waiting)
        assert None not in positions
        assert [pending.position for pending in pendings] == positions

    asyncio.run(scenario())


def test_a_long_outage_gathers_nothing() -> None:
    box = outbox(10)
    held = box.add(removed("held"))
    for number in range(5_000):
        box.add(removed(str(number), scope=f"scope {number % 20}"))
    assert sum(len(item.pendings) for item in box._items) <= 11
    sent(box)
    assert held.position is not None


def test_an_event_too_large_for_a_frame_is_coarsened() -> None:
    box = outbox(size=1000)
    box.add(removed(*["k" * 100] * 20))
    assert sent(box) == [ScopeCleared("s")]
    box.add(removed("k" * 2000, scope="s" * 2000))
    box.add(ScopeCleared("s" * 2000))
    assert sent(box) == [CacheCleared(), CacheCleared()]


def test_the_first_word_of_an_origin_goes_before_what_waits() -> None:
    box = outbox()
    box.add(removed("waiting"))
    box.add_first(InstanceStarted("i"))
    assert sent(box) == [InstanceStarted("i"), removed("waiting")]


def test_waiting_ends_when_the_log_is_away() -> None:
    async def scenario() -> None:
        box = outbox()
        sealed, queued = box.add(removed("1")), None
        box.frame(1, "o", 1, 0)
        queued = box.add(removed("2"))
        waiting = [asyncio.create_task(pending.wait(60)) for pending in (sealed, queued)]
        await asyncio.sleep(0)
        box.away()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 1) == [None, None]
        # the events themselves still go out
        assert sent(box) == [removed("1"), removed("2")]
        assert sealed.position == Position(1, 1)

    asyncio.run(scenario())


def test_waiting_is_bounded_and_cancellable() -> None:
    async def scenario() -> None:
        pending = outbox().add(removed("1"))
        assert await pending.wait(0.01) is None
        task = asyncio.create_task(pending.wait(60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pending._waiters == []

    asyncio.run(scenario())


def test_a_frame_taken_back_goes_out_anew_before_everything_else() -> None:
    box = outbox()
    first, second = box.add(removed("1")), box.add(removed("2"))
    box.frame(1, "old", 5, 0)
    box.add(removed("3"))
    box.unseal()
    frame = box.frame(1, "new", 1, 0)
    assert frame is not None
    assert frame.id == "new:1:3"
    assert frame.events == (removed("1"), removed("2"), removed("3"))
    box.acknowledged(Position(1, 1))
    assert first.position == second.position == Position(1, 1)


def test_an_event_that_the_wire_cannot_carry_is_refused_when_it_is_added() -> None:
    box = outbox()
    with pytest.raises(EncodeError):
        box.add(removed("\ud800"))
    assert sent(box) == []
