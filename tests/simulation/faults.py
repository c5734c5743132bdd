"""The faults: each is begun by a step of the plan, and ends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .instance import Instance
from .plan import Step
from .servers import Servers

__all__ = ["Faults"]

_KILLED_AFTER_SECONDS = 1.2


class Faults:
    """Does what a step says; a verb is the name of a method. `begin` starts an instance's next process."""

    def __init__(
        self,
        servers: Servers,
        begin: Callable[[Instance], None],
        note: Callable[[str], None],
    ) -> None:
        self._servers, self._begin, self._note = servers, begin, note
        self.tasks: set[asyncio.Task[None]] = set()

    def do(self, step: Step, instance: Instance, twin: Instance) -> None:
        """Begin the fault."""
        if step.what:
            if instance.alive:
                self._link(step, instance)
        elif step.verb == "fork":
            self._fork(step, instance, twin)
        else:
            getattr(self, step.verb)(step, instance)

    def _later(self, seconds: float, then: Callable[[], None]) -> None:
        self._servers.loop.call_later(seconds, then)

    # -- links -------------------------------------------------------------------------------------------------

    def _link(self, step: Step, instance: Instance) -> None:
        link = instance.links[step.what]
        match step.verb:
            case "cut":
                link.cut = True
            case "stall":
                link.stalled = True
            case "half_open":
                link.half_open = True
            case "slow":
                link.slow = 0.3 if step.what == "log" else 0.1
            case "drop":
                link.drops = 0.3
            case "lose_answers":
                link.loses = 0.3
            case "duplicate":
                link.doubles = 0.3

        def heal() -> None:
            link.heal()
            instance.healed_at = self._servers.loop.time()
            self._note(f"{instance.name} {step.what} healed")

        self._later(step.seconds, heal)

    # -- processes ---------------------------------------------------------------------------------------------

    def crash(self, step: Step, instance: Instance) -> None:
        self.kill(instance, step.seconds)

    def kill(self, instance: Instance, seconds: float) -> None:
        """End its process; the next one starts `seconds` later."""
        if instance.running:
            instance.crash()
            self._later(seconds, lambda: self._begin(instance))

    def strand(self, step: Step, instance: Instance) -> None:
        """Killed while what it removed waits for the log."""
        self._link(step._replace(verb="cut", what="log", seconds=step.seconds + 0.1), instance)
        self._later(step.seconds / 4, lambda: self.kill(instance, step.seconds / 4))

    def restart(self, step: Step, instance: Instance) -> None:
        if instance.running:
            self._stop(instance, lambda: self._begin(instance))

    def _fork(self, step: Step, instance: Instance, twin: Instance) -> None:
        """A second process of one configuration, beside the first."""
        if instance.running and not twin.alive:
            self._begin(twin)
            self._later(step.seconds, lambda: self._end_fork(step, twin))

    def _end_fork(self, step: Step, twin: Instance) -> None:
        if not twin.running:
            self._later(0.1, lambda: self._end_fork(step, twin))
        elif step.seconds > _KILLED_AFTER_SECONDS:
            twin.crash()
        else:
            self._stop(twin, lambda: None)

    def _stop(self, instance: Instance, then: Callable[[], None]) -> None:
        async def stop() -> None:
            if not instance.running:
                return  # asked twice, while it was frozen
            instance.running = False
            await instance.cache.stop()
            instance.ended()
            then()

        task = instance.run(stop())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def freeze(self, step: Step, instance: Instance) -> None:
        """SIGSTOP, and SIGCONT later."""
        if not instance.alive:
            return
        process = instance.process
        self._servers.loop.freeze(process)

        def thaw() -> None:
            self._servers.loop.thaw(process)
            if instance.process is process:
                instance.healed_at = self._servers.loop.time()

        self._later(step.seconds, thaw)

    def jump(self, step: Step, instance: Instance) -> None:
        """The wall clock is set."""
        if instance.alive:
            instance.clock.wall += step.seconds * 3600 - 3600

    # -- servers -----------------------------------------------------------------------------------------------

    def fail_loaders(self, step: Step, instance: Instance) -> None:
        self._servers.database.trouble()
        self._later(step.seconds / 2, self._servers.database.heal)

    def fail_over(self, step: Step, instance: Instance) -> None:
        """Half of the time while what an instance removes waits for the log."""
        if int(step.at * 1000) % 2:
            self._link(step._replace(verb="cut", what="log"), instance)
        self._later(step.seconds / 2, self._servers.store.fail_over)

    def trim(self, step: Step, instance: Instance) -> None:
        """Past an instance that is cut off meanwhile."""
        self._link(step._replace(verb="cut", what="log", seconds=step.seconds + 0.1), instance)
        self._later(step.seconds, lambda: self._servers.log.trim(int(step.at * 1000) % 3))

    def truncate(self, step: Step, instance: Instance) -> None:
        self._servers.log.trim(0)

    def delete(self, step: Step, instance: Instance) -> None:
        self._servers.log.delete()

    def recreate(self, step: Step, instance: Instance) -> None:
        self._servers.log.create()

    def lose_tail(self, step: Step, instance: Instance) -> None:
        self._servers.log.lose_tail(1 + int(step.at * 1000) % 5)

    def restore(self, step: Step, instance: Instance) -> None:
        """An old copy of the log."""
        if self._servers.log.exists:
            held = self._servers.log.copy()
            self._later(step.seconds, lambda: self._servers.log.restore(held))
