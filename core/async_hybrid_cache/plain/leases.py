"""Leases that this process alone knows of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ..positions import ORIGIN, Position
from .entry import Name

__all__ = ["Lease", "Leases"]


class Lease:
    """The right to fill, and what came in between: a change made here, or an event at `overtaken`."""

    __slots__ = ("generation", "overtaken", "token", "until", "voided")

    def __init__(self, token: str, until: float, generation: str) -> None:
        self.token = token
        self.until = until
        self.generation = generation
        """Of the scope, as known when the lease was taken."""
        self.overtaken: Position = ORIGIN
        self.voided = False

    def covers(self, stamp: Position) -> bool:
        """Whether nothing that this process knows of has overtaken a value stamped `stamp`."""
        return not self.voided and self.overtaken <= stamp


class Leases:
    """One lease a name; bounded, with the oldest voided to make room. One that is being filled stays until its end."""

    def __init__(self, now: Callable[[], float], max_leases: int = 16_384) -> None:
        self._now = now
        self._max = max_leases
        self._table: OrderedDict[Name, Lease] = OrderedDict()
        self._drawn = 0

    def take(self, name: Name, seconds: float, generation: str) -> Lease | None:
        """A new lease; None where one is live that no event has overtaken."""
        lease = self._table.get(name)
        if lease is not None and lease.overtaken == ORIGIN and self._now() < lease.until:
            return None
        return self.replace(name, seconds, generation)

    def replace(self, name: Name, seconds: float, generation: str) -> Lease:
        """A new lease, whoever had one before."""
        self.void(name)
        self._drawn += 1
        lease = self._table[name] = Lease(str(self._drawn), self._now() + seconds, generation)
        if len(self._table) > self._max:
            self.void(next(iter(self._table)))
        return lease

    def live(self, name: Name, token: str) -> Lease | None:
        """The lease of that token, where it has not ended."""
        lease = self._table.get(name)
        return lease if lease is not None and lease.token == token and self._now() < lease.until else None

    def end(self, name: Name, lease: Lease) -> None:
        """It is not needed any more."""
        if self._table.get(name) is lease:
            del self._table[name]

    def void(self, name: Name) -> None:
        """The name was changed by this process."""
        lease = self._table.pop(name, None)
        if lease is not None:
            lease.voided = True

    def void_scope(self, scope: str | None) -> None:
        """The same for all names of a scope, or for all."""
        for name in self._of(scope):
            self.void(name)

    def overtake(self, name: Name, position: Position) -> None:
        """The name was changed at `position`."""
        lease = self._table.get(name)
        if lease is not None:
            lease.overtaken = max(lease.overtaken, position)

    def overtake_scope(self, scope: str | None, position: Position) -> None:
        """The same for all names of a scope, or for all."""
        for name in self._of(scope):
            self.overtake(name, position)

    def _of(self, scope: str | None) -> list[Name]:
        return [name for name in self._table if scope is None or name[0] == scope]
