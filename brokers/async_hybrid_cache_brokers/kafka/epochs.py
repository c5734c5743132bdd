"""Epochs in a topic. Kafka keeps none, and cannot compare before it appends: markers in the log itself decide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Claim", "Entry", "View"]


class Claim(NamedTuple):
    """What the writer of an entry knew: up to `verified`, `epoch` was in force since the marker at `base`.

    All are offsets of Kafka's. Epoch 0 stands for none: no marker up to `verified`, and base -1.
    """

    epoch: int
    base: int
    verified: int


class Entry(NamedTuple):
    """One record of the topic. `marker` is the epoch that it wants to begin; what carries no claim is foreign."""

    offset: int
    id: str
    data: bytes
    claim: Claim | None = None
    marker: int | None = None

    @property
    def trusted(self) -> Claim | None:
        """The claim, unless it cannot be of this topic: then the topic was recreated under its writer."""
        claim = self.claim
        return claim if claim is not None and claim.base <= claim.verified < self.offset else None


class View:
    """The epoch in force at `verified`, by everything up to there.

    A marker begins its epoch if none began since its writer had looked: of several that race, the first in the
    log wins, and every reader comes to the same verdict. It is compare-and-set, decided after the fact.
    """

    __slots__ = ("anchor", "base", "epoch", "verified")

    def __init__(self, claim: Claim) -> None:
        self.epoch, self.base, self.verified = claim
        self.anchor = ""
        """The id of the entry at `verified`; '' where it was not seen."""

    @property
    def claim(self) -> Claim:
        """What an entry written now can say."""
        return Claim(self.epoch, self.base, self.verified)

    def advance(self, entries: Iterable[Entry]) -> None:
        """Go on over those of the contiguous `entries` that follow."""
        for entry in entries:
            if entry.offset <= self.verified:
                continue
            if entry.offset != self.verified + 1:
                break
            claim = entry.trusted
            if claim is not None:
                if entry.marker is not None:
                    if claim.verified >= self.base:
                        self.epoch, self.base = entry.marker, entry.offset
                elif claim.epoch > self.epoch:
                    # the marker is gone, or this view began with what an uninformed writer claimed
                    self.epoch, self.base = claim.epoch, claim.base
            self.verified, self.anchor = entry.offset, entry.id
