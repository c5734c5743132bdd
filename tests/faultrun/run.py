"""One run: load, one fault after the other, and a rest at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from time import monotonic

from tests.faults.versions import Versions

from .crew import Crew
from .faults import FAULTS, Scene
from .history import Broke, Recorder
from .record import Record, read_record
from .setup import KEYS, WORKERS
from .sites import opened

__all__ = ["play"]

_QUIET_SECONDS = 3.0


async def play(
    broker: str, folder: Path, *, seconds: float, seed: int, only: Sequence[str] = (), without: str | None = None
) -> Record:
    """Break things for `seconds`, each kind of fault in turn and in an order that `seed` draws, or `only` some.

    What `without` names is switched off in the workers. Files are left in `folder`.
    """
    rng = random.Random(seed)
    faults = {name: fault for name, fault in FAULTS[broker].items() if not only or name in only}
    names = rng.sample(list(faults), len(faults))
    recorder = Recorder(folder / "faults")
    with (
        Versions(folder / "versions", KEYS),
        Versions(folder / "tokens", KEYS),
        opened(broker, folder / "site") as site,
    ):
        async with Crew(site, folder, seed, without) as crew:
            ends = monotonic() + seconds
            await asyncio.sleep(_QUIET_SECONDS)
            for name in cycle(names):
                fault, worker = faults[name], rng.randrange(WORKERS)
                scene = Scene(site, crew, worker, rng)
                began = monotonic()
                await fault.inflict(scene)
                concerned = worker if fault.alone else None
                recorder.note(Broke(name, concerned, began, monotonic(), fault.forgets_seconds))
                await fault.tidy(scene)
                await asyncio.sleep(_QUIET_SECONDS)
                if monotonic() > ends:
                    break
            await crew.rest()
    return read_record(folder)
