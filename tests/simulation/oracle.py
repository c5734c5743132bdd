"""The oracle: judges after every step, and once more when all is quiet."""

from __future__ import annotations

from async_hybrid_cache import Position
from async_hybrid_cache.store import Entry

from .instance import Instance
from .plan import KEYS, STRICT_SECONDS
from .servers import Servers
from .subscribers import FLEET

__all__ = ["FRESH_SECONDS", "Oracle", "Violation"]

FRESH_SECONDS = 2.0
_BOUND_EVERY_SECONDS = 0.002
_PROGRESS_EVERY_SECONDS = 0.02


class Violation(AssertionError):
    """A promise was broken; the message says which, where and when."""


class Oracle:
    """Knows the database's history, and what each instance has been told of it.

    A: no L1 holds less than what was applied, acknowledged or skipped here. C: no caller gets less. D: all quiet,
    everybody has the newest. 1, 3 to 7: the promises of those numbers.
    """

    def __init__(self, servers: Servers, instances: list[Instance]) -> None:
        self._servers = servers
        self._instances = instances
        self._end_only = servers.plan.world.at_the_end
        self._bound_at = self._progress_at = 0.0

    def violation(self, what: str) -> Violation:
        return Violation(f"{what} [seed {self._servers.plan.seed}, {self._servers.plan.world.name}]")

    def judge(self) -> None:
        """After every step."""
        if self._servers.history.broken:
            raise self.violation(self._servers.history.broken[0])
        now = self._servers.loop.time()
        for instance in self._instances:
            if instance.failures:
                raise instance.failures[0]
            if instance.alive and (instance.doubted or instance.scope.store.puts != instance.judged_puts):
                self._judge_l1(instance)
        if self._servers.plan.strict and now >= self._bound_at:
            self._bound_at = now + _BOUND_EVERY_SECONDS
            for instance in self._instances:
                if instance.alive:
                    self._judge_bound(instance)
        if now >= self._progress_at:
            self._progress_at = now + _PROGRESS_EVERY_SECONDS
            for instance in self._instances:
                if instance.running and instance.stream.attached and not instance.frozen:
                    self._judge_progress(instance, now)

    def retire(self, gone: list[Instance]) -> None:
        """These will not be started again."""
        self._instances = [instance for instance in self._instances if instance not in gone]

    def judge_read(self, instance: Instance, key: str, got: int, owed: int) -> None:
        entry = instance.scope.store.entries.get(key)
        lost = entry is not None and entry.value == got and self._of_the_lost_end(instance, entry)
        if got < owed and instance.alive and not lost and not self._excused(key):
            raise self.violation(f"C: {instance.name} returned version {got} of {key} where {owed} was due")

    def _excused(self, key: str) -> bool:
        return self._end_only or key in self._servers.history.excused

    def _of_the_lost_end(self, instance: Instance, entry: Entry) -> bool:
        """Whether it is stamped in an end that the log lost, unknown to this instance, as docs/limits.md says."""
        noticed = instance.reader.applied.epoch != entry.stamp.epoch
        return not noticed and self._servers.log.lost_end(entry.stamp) is not None

    def _judge_l1(self, instance: Instance) -> None:
        if not instance.stream.attached:
            return
        instance.doubted, instance.judged_puts = False, instance.scope.store.puts
        for entry in instance.scope.store.entries.values():
            owed = instance.owed.get(entry.key, 0)
            if entry.value < owed and not self._excused(entry.key) and not self._of_the_lost_end(instance, entry):
                raise self.violation(
                    f"A: {instance.name} holds version {entry.value} of {entry.key} where {owed} was due"
                )

    def _judge_bound(self, instance: Instance) -> None:
        """Promise 3: nothing would be served that was removed longer ago than the bound, whoever is deaf."""
        since = self._servers.loop.time() - STRICT_SECONDS
        for entry in instance.scope.store.entries.values():
            outdated = self._servers.history.outdated(entry.key, entry.value) < since
            served = outdated and self._serves(instance, entry)
            if served and not self._excused(entry.key):
                raise self.violation(f"3: {instance.name} serves version {entry.value} of {entry.key} too long")

    def judge_barrier(self, caller: Instance, position: Position | None, versions: dict[str, int]) -> None:
        """Promise 4: nobody serves less than what was acknowledged up to `position`."""
        if not self._servers.plan.strict:
            return  # past the bound, fail-safe may stand in
        for instance in self._instances:
            if not instance.alive or not instance.stream.attached:
                continue
            for entry in instance.scope.store.entries.values():
                due = entry.value < versions.get(entry.key, 0) and not self._excused(entry.key)
                if due and self._serves(instance, entry):
                    raise self.violation(
                        f"4: the barrier of {caller.name} at {position} returned, and {instance.name} serves version "
                        f"{entry.value} of {entry.key}"
                    )

    def judge_named(self, caller: Instance, named: tuple[str, ...]) -> None:
        """A barrier that gave up says who was missing."""
        if not named or not {instance.identity for instance in self._instances}.issuperset(named):
            raise self.violation(f"4: the barrier of {caller.name} gave up and named {named}")

    def _serves(self, instance: Instance, entry: Entry) -> bool:
        staleness, scope = instance.cache._staleness, instance.scope
        now = instance.clock.monotonic()
        return now < entry.fresh_until or staleness.may_serve(scope.store, entry, scope.options)

    def _judge_progress(self, instance: Instance, now: float) -> None:
        """Promise 1: applied within 2 s of the log being reachable, or reset."""
        log, position = self._servers.log, instance.reader.applied
        if position.epoch != log.epoch or position.offset >= log.last or not log.times:
            return
        if not instance.links["log"].healthy or not log.exists:
            return
        since = max(instance.healed_at, log.times[max(position.offset + 1, log.first) - log.first])
        if now - since > FRESH_SECONDS:
            raise self.violation(f"1: {instance.name} is at {position}, the log at {log.last}, for {now - since:.2f} s")

    def unsettled(self) -> str | None:
        """Why not everything is done; None where it is."""
        log = self._servers.log
        for instance in self._instances:
            applied = instance.reader.applied
            if (applied.epoch, applied.offset) != (log.epoch, log.last):
                return f"1: {instance.name} is at {applied}, the log at {log.epoch}-{log.last}"
            if len(instance.stream.outbox) or instance.tier.late_deletes:
                return f"6: {instance.name} has not sent or deleted everything"
        return None

    def untold(self, forked: set[str]) -> str | None:
        """A subscriber that was not told of everything; processes that forked share theirs among them."""
        if not self._servers.plan.subscribed:
            return None
        for who in (FLEET, *(i.identity for i in self._instances if i.identity not in forked)):
            if missing := self._servers.subscribers.missing(who):
                return missing
        return None

    async def judge_end(self) -> None:
        """Everybody has the newest version of everything."""
        for instance in self._instances:
            for key in KEYS:
                got, newest = await instance.read(key), self._servers.database.versions.get(key, 0)
                if got != newest and key not in self._servers.history.excused:
                    raise self.violation(f"D: all is quiet and {instance.name} returns version {got} of {key}={newest}")
