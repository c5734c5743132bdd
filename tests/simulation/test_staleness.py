"""Promise 3 in the simulation: after every step, no L1 would serve what was removed longer ago than the bound."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from async_hybrid_cache import CacheOptions
from async_hybrid_cache.positions import Position
from async_hybrid_cache.staleness import Staleness
from async_hybrid_cache.stream.tail import Tail
from async_hybrid_cache_codecs.frames import SealedFrame

from .instance import SCOPE, Instance
from .oracle import Oracle, Violation
from .plan import WORLDS
from .run import simulate

BOUND_SECONDS = 0.5


def seeds(limit: int) -> list[int]:
    """Worlds that promise it: not those whose log loses what it acknowledged, or whose L2 keeps what was removed."""
    promised = [world.name != "the log is lost" and not world.at_the_end for world in WORLDS]
    return [seed for seed in range(limit) if promised[seed % len(WORLDS)]]


class Judge:
    """When each version's announcement was acknowledged, and what every L1 would serve."""

    def __init__(self) -> None:
        self._acknowledged: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self.judged_deaf = 0

    def watch(self, instance: Instance) -> None:
        """A process that has just been built."""
        servers = instance._servers
        instance.cache.scope_state(SCOPE, CacheOptions(max_staleness_seconds=BOUND_SECONDS, on_stale="raise"))
        writer = instance.stream.writer
        append = writer._append

        async def appending(frame: SealedFrame) -> Position:
            position = await append(frame)
            for key, version in servers.history.announced(frame.id).items():
                self._acknowledged[key].append((servers.loop.time(), version))
            return position

        writer._append = appending  # type: ignore[method-assign]

    def judge(self, oracle: Oracle) -> None:
        """After every step."""
        for instance in oracle._instances:
            if not instance.alive:
                continue
            now, staleness = instance.clock.monotonic(), instance.cache._staleness
            self.judged_deaf += now - instance.stream.caught_up_at > BOUND_SECONDS
            for entry in instance.scope.store.entries.values():
                served = now < entry.fresh_until or staleness.may_serve(
                    instance.scope.store, entry, instance.scope.options
                )
                if served and entry.key not in oracle._servers.history.excused:
                    self._judge_entry(oracle, instance, entry.key, entry.value)

    def _judge_entry(self, oracle: Oracle, instance: Instance, key: str, version: int) -> None:
        now = oracle._servers.loop.time()
        for at, newer in reversed(self._acknowledged[key]):
            if newer > version and at < now - BOUND_SECONDS:
                raise oracle.violation(
                    f"3: {instance.name} serves version {version} of {key}; {newer} was announced {now - at:.3f} s ago"
                )


@contextmanager
def judging() -> Iterator[Judge]:
    """Every process of the runs in the block is bound, and judged by it."""
    judge, build, judged = Judge(), Instance.build, Oracle.judge

    def building(instance: Instance) -> None:
        build(instance)
        judge.watch(instance)

    def both(oracle: Oracle) -> None:
        judged(oracle)
        judge.judge(oracle)

    with mock.patch.object(Instance, "build", building), mock.patch.object(Oracle, "judge", both):
        yield judge


@pytest.mark.parametrize("seed", seeds(30))
def test_no_l1_serves_what_was_removed_longer_ago_than_the_bound(seed: int) -> None:
    with judging() as judge:
        simulate(seed)
    assert judge.judged_deaf > 0


@pytest.mark.parametrize("rule", ["the bound", "a head counts once it is applied"])
def test_the_oracle_finds_out_where_a_rule_is_missing(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    if rule == "the bound":
        monkeypatch.setattr(Staleness, "within", lambda *_: True)
    else:

        def aim(tail: Tail, asked_at: float, head: Position) -> None:
            tail.caught_up_at = asked_at

        monkeypatch.setattr(Tail, "aim", aim)
    with pytest.raises(Violation, match=r"^3: "):
        _search()


def _search() -> None:
    for seed in seeds(100):
        with judging():
            simulate(seed)
