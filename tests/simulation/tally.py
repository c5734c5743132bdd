"""What many runs did, and whether that is enough to prove anything."""

from __future__ import annotations

from collections import Counter

from .run import Run

__all__ = ["Tally"]

_NEEDED = {
    "fenced": "fenced",
    "fills_fenced": "kept from filling",
    "refused": "refused a lease",
    "replayed": "replayed",
}


class Tally:
    """Counts over runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, run: Run) -> None:
        self.counts.update(run.counts)

    def missing(self) -> list[str]:
        """What never happened, and would have to for the runs to prove anything."""
        return [word for name, word in _NEEDED.items() if not self.counts[name]]

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
