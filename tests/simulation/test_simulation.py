"""Seeds, and the proof that the simulation would notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from async_hybrid_cache.positions import ORIGIN
from async_hybrid_cache.scopes import Scope, Scopes
from async_hybrid_cache.store import LocalStore
from async_hybrid_cache.stream.tail import Tail
from async_hybrid_cache.tombstones import Tombstones

from .run import Run, Violation, simulate
from .tally import Tally

SEEDS = 160


def test_no_seed_breaks_a_promise() -> None:
    tally = Tally()
    for seed in range(SEEDS):
        tally.add(simulate(seed))
    assert tally.missing() == [], str(tally)
    faults = ("cut", "stall", "slow", "lose_answers", "crash", "cut_l2", "trim", "delete", "lose_tail")
    assert all(tally.counts[fault] for fault in faults), str(tally)


def test_a_seed_replays_itself() -> None:
    first, second = simulate(3), simulate(3)
    assert first.trace == second.trace
    assert first.counts == second.counts


def _any_lease(run: Run) -> None:
    run.store.accept_any = True


def _keep_all(self: LocalStore, key: str, before: Any = None) -> None:
    if before is None:
        _discard(self, key)


def _fence_and_still_join(self: Scope, key: str, before: Any = None) -> int:
    loads = [running[key] for running in (self.loads, self.probes) if key in running]
    for load in loads:
        load.fenced = load.fenced or before is None or load.stamp < before
    return len(loads)


async def _trust_the_log(self: Tail, *_: Any) -> None:
    return None


_discard = LocalStore.discard

MUTATIONS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "an overtaken load may fill": (Scopes, "may_keep", lambda *_: True),
    "an applied event drops nothing": (LocalStore, "discard", _keep_all),
    "callers join overtaken loads": (Scope, "fence", _fence_and_still_join),
    "an L2 hit older than its tombstone is served": (Tombstones, "newest", lambda *_, **__: ORIGIN),
    "a gap resets nothing": (Scopes, "reset", lambda *_: None),
    "the log is taken on trust": (Tail, "lost", _trust_the_log),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_that_is_switched_off_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, replacement = MUTATIONS[name]
    monkeypatch.setattr(owner, attribute, replacement)
    with pytest.raises(Violation):
        _search()


def test_a_fill_without_a_lease_is_noticed() -> None:
    with pytest.raises(Violation):
        _search(_any_lease)


def _search(patch: Callable[[Run], None] | None = None) -> None:
    for seed in range(60):
        simulate(seed, patch)
