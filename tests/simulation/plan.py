"""What is to happen in a run: drawn from its seed, and a list that can be shortened."""

from __future__ import annotations

import random
from typing import NamedTuple

__all__ = [
    "FAULTS",
    "INSTANCES",
    "KEYS",
    "STRICT_SECONDS",
    "WORK",
    "WORK_SECONDS",
    "WORLDS",
    "Plan",
    "Step",
    "World",
    "draw",
]

KEYS = tuple("abcdefgh")
INSTANCES = 3
WORK_SECONDS = 4.0
STRICT_SECONDS = 0.5
_STEPS_A_SECOND = 75.0
_RARE_STEPS_A_SECOND = 4.0
_CLEARED_MEANWHILE = 0.5
_FILLED_BEYOND = 0.5
_BRING_A_POSITION = 0.15

_COMMON = ("read", "remove", "set", "clear")
_RARE = ("read_at", "read_at", "change", "barrier")
WORK = (*_COMMON, *_RARE)
_LINK = ("cut", "stall", "half_open", "slow", "drop", "lose_answers", "duplicate")
_PROCESS = ("crash", "crash", "restart", "fork", "jump", "fail_loaders", "freeze", "strand")
_LOG = ("trim", "truncate", "delete", "recreate", "lose_tail", "lose_tail", "restore")


class World(NamedTuple):
    """Which faults there are, and how far apart: not every promise holds under all of them at once.

    `tombstones` bounds their table. `at_the_end`: only what is left when all is quiet is judged. `announces`: who dies
    inside `invalidating` leaves nobody stale.
    """

    name: str
    links: tuple[str, ...]
    faults: tuple[str, ...]
    tombstones: int = 65_536
    deletes_fail: float = 0.0
    at_the_end: bool = False
    announces: bool = False

    @property
    def loses_records(self) -> bool:
        """Whether the log may lose what it acknowledged, and prove what is not true."""
        return not set(self.faults).isdisjoint(_LOG)


WORLDS = (
    World("plain", ("log", "log", "positions"), _PROCESS, announces=True),
    World("L2 fails", ("log", "l2", "l2", "positions"), (*_PROCESS, "fail_over", "fail_over"), deletes_fail=0.2),
    World("tombstones are forgotten", ("log",), _PROCESS, tombstones=2),
    World("the log is lost", ("log", "positions"), (*_PROCESS, *_LOG), tombstones=65_536),
    World("L2 fails and tombstones are forgotten", ("log", "l2"), (), 2, 0.3, at_the_end=True),
)

FAULTS = frozenset(_LINK).union(*(world.faults for world in WORLDS))


class Step(NamedTuple):
    """`verb` at the time `at`, by or on instance `who`: of the key or link `what`, for `seconds`."""

    at: float
    verb: str
    who: int
    what: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.3f} s" if self.seconds else ""
        return f"{self.at:7.4f} i{self.who} {self.verb} {self.what}{lasting}".rstrip()


class Plan(NamedTuple):
    """One run. `remembers`: the log knows a record that it has; `outbox` bounds it; `subscribed` has subscribers.

    `one_server`: L2 and log are on it, and changed in one step.
    `durable`: the outbox is on disk. `snapshot`: L1 is kept over restarts.
    `strict`: no read may return what was removed longer than `STRICT_SECONDS` ago, and raises instead.
    """

    seed: int
    world: World
    remembers: bool
    outbox: int
    subscribed: bool
    strict: bool
    one_server: bool
    durable: bool
    snapshot: bool
    steps: tuple[Step, ...]


def draw(seed: int) -> Plan:
    """The plan of `seed`."""
    rng = random.Random(seed)
    world = WORLDS[seed % len(WORLDS)]
    steps = [*_work(rng), *_faults(rng, world), *_rare(rng), *_at_last(rng)]
    if world.loses_records:
        steps += _filled_beyond(rng)
    return Plan(
        seed,
        world,
        remembers=rng.random() < 0.5,
        outbox=rng.choice((3, 10_000)),
        subscribed=rng.random() < 0.5,
        strict=rng.random() < 0.5 and not world.loses_records,  # docs/limits.md
        one_server=rng.random() < 0.5,
        durable=rng.random() < 0.4,
        snapshot=rng.random() < 0.4,
        steps=tuple(sorted(steps)),
    )


def _work(rng: random.Random) -> list[Step]:
    steps: list[Step] = []
    at = 0.03
    while (at := at + rng.expovariate(_STEPS_A_SECOND)) < WORK_SECONDS:
        verb = rng.choices(_COMMON, (0.65, 0.26, 0.08, 0.01))[0]
        who, key = rng.randrange(INSTANCES), rng.choice(KEYS)
        steps.append(Step(at, verb, who, "" if verb == "clear" else key))
        if verb in ("remove", "set"):
            # what goes wrong goes wrong between a change and the reads around it
            for least, most in ((-0.03, 0.01), (0.0, 0.2)):
                how = "read_at" if rng.random() < _BRING_A_POSITION else "read"
                near = Step(at + rng.uniform(least, most), how, rng.choice((who, rng.randrange(INSTANCES))), key)
                steps.append(near)
    return steps


def _rare(rng: random.Random) -> list[Step]:
    steps: list[Step] = []
    at = 0.2
    while (at := at + rng.expovariate(_RARE_STEPS_A_SECOND)) < WORK_SECONDS:
        verb, who = rng.choice(_RARE), rng.randrange(INSTANCES)
        steps.append(Step(at, verb, who, "" if verb == "barrier" else rng.choice(KEYS)))
    return steps


def _at_last(rng: random.Random) -> list[Step]:
    """A change whose leases are taken away by somebody who may not have heard of it, late enough to stand."""
    if rng.random() >= _CLEARED_MEANWHILE:
        return []
    at, who, key = WORK_SECONDS - rng.uniform(0.0, 0.3), rng.randrange(INSTANCES), rng.choice(KEYS)
    other, soon = (who + rng.randrange(1, INSTANCES)) % INSTANCES, at + rng.uniform(0.0, 0.1)
    near = soon + rng.uniform(0.0, 0.1)
    return [Step(at, "change", who, key), Step(soon, "clear", other), Step(near, "read", other, key)]


def _filled_beyond(rng: random.Random) -> list[Step]:
    """The log loses its end, and a process that never saw it writes on at once."""
    if rng.random() >= _FILLED_BEYOND:
        return []
    at, who = WORK_SECONDS - rng.uniform(0.2, 0.4), rng.randrange(INSTANCES)
    others = [Step(at + rng.uniform(0.0, 0.03), "remove", (who + n) % INSTANCES, rng.choice(KEYS)) for n in (1, 1, 2)]
    own = [Step(at + rng.uniform(0.03, 0.2), "remove", who, rng.choice(KEYS)) for _ in range(6)]
    return [*others, Step(at + rng.uniform(0.0, 0.05), "restart", who), Step(at + 0.04, "lose_tail", who), *own]


def _faults(rng: random.Random, world: World) -> list[Step]:
    steps: list[Step] = []
    at = 0.0
    while (at := at + rng.uniform(0.0, 0.9)) < WORK_SECONDS:
        who, seconds = rng.randrange(INSTANCES), rng.uniform(0.05, 2.5)
        verb = rng.choice((*_LINK, *world.faults))
        steps.append(Step(at, verb, who, rng.choice(world.links) if verb in _LINK else "", seconds))
    return steps
