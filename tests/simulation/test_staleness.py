"""Promise 3 in the simulation: after every step, no L1 would serve what was removed longer ago than the bound."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from async_hybrid_cache import CacheOptions
from async_hybrid_cache.positions import Position
from async_hybrid_cache.staleness import Staleness
from async_hybrid_cache.stream.tail import Tail
from async_hybrid_cache_codecs.frames import SealedFrame

from .fleet import Instance
from .run import WORLDS, Run, Violation, simulate

BOUND_SECONDS = 0.5
SEEDS = [seed for seed in range(24) if WORLDS[seed % len(WORLDS)] != "log lost"]
"""A log that loses what it acknowledged proves what is not true; docs/limits.md says so."""


class Oracle:
    """When each version's announcement was acknowledged, and what every L1 would serve."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._acknowledged: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self.judged_deaf = 0
        judge = run.judge

        def judging() -> None:
            judge()
            for instance in run.instances:
                if instance.alive:
                    self.judge(instance)

        run.judge = judging  # type: ignore[method-assign]

    def watch(self, instance: Instance) -> None:
        """A process that has just been built."""
        cache = instance.cache
        cache._options = cache._options.override(CacheOptions(max_staleness_seconds=BOUND_SECONDS, on_stale="raise"))
        instance.stream.abide_by(BOUND_SECONDS)
        writer = instance.stream.writer
        append = writer._append

        async def appending(frame: SealedFrame) -> Position:
            position = await append(frame)
            now = self._run.loop.time()
            for key, version in self._run.announcements.of(frame.id).items():
                self._acknowledged[key].append((now, version))
            return position

        writer._append = appending  # type: ignore[method-assign]

    def judge(self, instance: Instance) -> None:
        now, staleness = self._run.loop.time(), instance.cache._staleness
        self.judged_deaf += now - instance.stream.caught_up_at > BOUND_SECONDS
        for scope in instance.cache._scopes:
            for entry in scope.store.entries.values():
                served = now < entry.fresh_until or staleness.may_serve(scope.store, entry, scope.options)
                if served and entry.key not in self._run.excused:
                    self._judge_entry(instance, entry.key, entry.value, now)

    def _judge_entry(self, instance: Instance, key: str, version: int, now: float) -> None:
        for at, newer in reversed(self._acknowledged[key]):
            if newer > version and at < now - BOUND_SECONDS:
                raise self._run.violation(
                    f"3: {instance.name} serves version {version} of {key}; {newer} was announced {now - at:.3f} s ago"
                )


def judged(seed: int) -> Oracle:
    oracles: list[Oracle] = []
    watched: set[int] = set()

    def patch(run: Run) -> None:
        if not oracles:
            oracles.append(Oracle(run))
        for instance in run.instances:
            if hasattr(instance, "cache") and id(instance.cache) not in watched:
                watched.add(id(instance.cache))
                caches.append(instance.cache)
                oracles[0].watch(instance)

    caches: list[Any] = []  # kept, so that no id is used twice
    simulate(seed, patch)
    return oracles[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_l1_serves_what_was_removed_longer_ago_than_the_bound(seed: int) -> None:
    assert judged(seed).judged_deaf > 0


@pytest.mark.parametrize("rule", ["the bound", "a head counts once it is applied"])
def test_the_oracle_finds_out_where_a_rule_is_missing(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    if rule == "the bound":
        monkeypatch.setattr(Staleness, "within", lambda *_: True)
    else:

        def aim(tail: Tail, asked_at: float, head: Position) -> None:
            tail.caught_up_at = asked_at

        monkeypatch.setattr(Tail, "aim", aim)
    with pytest.raises(Violation, match=": 3: "):
        _search()


def _search() -> None:
    for seed in range(80):
        if WORLDS[seed % len(WORLDS)] != "log lost":
            judged(seed)
