"""What many runs did, and whether that is enough to prove anything."""

from __future__ import annotations

from collections import Counter

from .plan import FAULTS

__all__ = ["Tally"]

_NEEDED = {
    "fenced": "fenced",
    "fills_fenced": "kept from filling",
    "refused": "refused a lease",
    "waits": "waited for another's load",
    "replayed": "replayed",
    "warm starts": "restarted at a checkpoint",
    "coarsened": "coarsened",
    "duplicates": "recognised as a duplicate",
    "restored": "restored from a snapshot",
    "snapshots thrown away": "thrown away as a snapshot",
    "recovered": "recovered from an outbox on disk",
    "reads at a position": "read at a position",
    "barriers": "let through a barrier",
    "barriers that named somebody": "named by a barrier",
    "announced writes": "written after its announcement",
    "died inside": "killed between an announcement and its commit",
    "told": "told to a subscriber",
    "told_gaps": "told to a subscriber as a gap",
}


class Tally:
    """Counts over runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, counts: Counter[str]) -> None:
        self.counts.update(counts)

    def missing(self) -> list[str]:
        """What never happened, and would have to for the runs to prove anything."""
        never = [word for name, word in _NEEDED.items() if not self.counts[name]]
        return never + [f"broken by {fault!r}" for fault in sorted(FAULTS) if not self.counts[fault]]

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
