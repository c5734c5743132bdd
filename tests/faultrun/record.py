"""A run's history, in the order that judging it needs."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from .history import Barred, Broke, Counted, Entry, Paused, Read, Served, Told, Wrote, read_back
from .setup import KEYS, parse_marker

__all__ = ["Acknowledged", "Life", "Record", "Versions", "read_record"]

Position = tuple[int, int]


@dataclass
class Life:
    """What one process noted, from its start to its end or death."""

    worker: int
    number: int
    served: Served | None = None
    reads: list[Read] = field(default_factory=list)
    wrote: list[Wrote] = field(default_factory=list)
    barred: list[Barred] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    paused: list[Paused] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """One more entry, in the order of the file."""
        match entry:
            case Served():
                self.served = entry
            case Read():
                self.reads.append(entry)
            case Wrote():
                self.wrote.append(entry)
            case Barred():
                self.barred.append(entry)
            case Told():
                self.told.append(entry)
            case Paused():
                self.paused.append(entry)
            case Counted():
                self.counted.append(entry)


class Acknowledged(NamedTuple):
    """By `at` at the latest the log had the removal that announced `version`."""

    version: int
    at: float


class Versions:
    """The acknowledged versions of one key: which were due when."""

    def __init__(self, acknowledged: Iterable[Acknowledged]) -> None:
        self.all = sorted(acknowledged)
        self._versions = [version for version, _ in self.all]
        self._since = [*accumulate((at for _, at in reversed(self.all)), min)][::-1]

    def outdated(self, version: int) -> float:
        """Since when a newer version than this one was acknowledged; infinity for never."""
        after = bisect_right(self._versions, version)
        return self._since[after] if after < len(self._since) else math.inf

    def newer(self, version: int) -> Sequence[Acknowledged]:
        """Those newer than `version`."""
        return self.all[bisect_right(self._versions, version) :]


@dataclass
class Record:
    """All lives of all workers, and the faults."""

    lives: list[Life]
    faults: list[Broke]

    def __post_init__(self) -> None:
        positions: dict[tuple[int, int], Position] = {}
        at: dict[tuple[int, int], float] = {}
        for life in self.lives:
            for wrote in life.wrote:
                if wrote.position is not None:
                    positions[wrote.key, wrote.version] = wrote.position
                    at[wrote.key, wrote.version] = wrote.ended
        for life in self.lives:
            for told in life.told:
                for write in filter(None, map(parse_marker, told.keys)):
                    positions.setdefault(write, told.position)
                    at[write] = min(told.at, at.get(write, math.inf))
        self.positions = positions
        """Where the log had the removal of a key and version, as its writer or a subscriber learnt."""
        by_key: defaultdict[int, list[Acknowledged]] = defaultdict(list)
        for (key, version), when in at.items():
            by_key[key].append(Acknowledged(version, when))
        self.versions = {key: Versions(by_key[key]) for key in range(KEYS)}

    @property
    def wrote(self) -> list[Wrote]:
        """All writes that returned."""
        return [wrote for life in self.lives for wrote in life.wrote]

    def told(self, worker: int) -> list[Told]:
        """All that the subscriber of `worker` was told, over its restarts."""
        return [told for life in self.lives if life.worker == worker for told in life.told]


def read_record(folder: Path) -> Record:
    """The record in the files that the run left in `folder`."""
    lives = []
    for path in sorted(folder.glob("history-*")):
        _, worker, number = path.name.split("-")
        lives.append(life := Life(int(worker), int(number)))
        for entry in read_back(path):
            life.add(entry)
    faults = [entry for entry in read_back(folder / "faults") if isinstance(entry, Broke)]
    return Record(lives, faults)
