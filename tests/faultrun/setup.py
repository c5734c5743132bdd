"""What all processes of a run agree on: who writes which key, and under which bound it is read."""

from __future__ import annotations

from time import monotonic

import msgspec

__all__ = ["BOUNDS", "KEYS", "WORKERS", "Setup", "focus", "marker_of", "parse_marker", "scope_of"]

WORKERS = 4
KEYS = 120
BOUNDS = {"strict": 2.0, "shipped": 10.0}
"""`max_staleness_seconds` by scope; the second is the default."""

_FOCUS_SECONDS = 3.0


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker process is told on its command line.

    - `folder`: where database, histories, outboxes, checkpoints and snapshots are.
    - `worker`, `life`: its number, and how often that worker was started before.
    - `log`, `l2`: their URLs, through this worker's own links; one URL for both is one server.
    - `without`: the rule that is switched off, by its name in `tests.simulation.mutations`; None for none.
    """

    folder: str
    namespace: str
    worker: int
    life: int
    seed: int
    log: str
    l2: str
    without: str | None = None


def scope_of(key: int) -> str:
    """The scope of `key`. Worker `key % WORKERS` alone writes it, so that versions rise in the order of commits."""
    return "strict" if (key // WORKERS) % 2 == 0 else "shipped"


def focus(worker: int) -> int:
    """The key of `worker` that everybody is at now; what goes wrong there shows when the others have moved on."""
    return (int(monotonic() / _FOCUS_SECONDS) * WORKERS + worker) % KEYS


def marker_of(key: int, version: int) -> str:
    """A second key, removed with `key`, which tells subscribers which write it was."""
    return f"{key}#{version}"


def parse_marker(name: str) -> tuple[int, int] | None:
    """The key and the version behind a marker; None for any other key."""
    key, found, version = name.partition("#")
    return (int(key), int(version)) if found else None
