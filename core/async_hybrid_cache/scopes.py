"""L1 of every scope, the loads under way, and the tombstones: where an event takes effect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

from msgspec import UNSET, UnsetType

from async_hybrid_cache_codecs.events import (
    CacheCleared,
    ChangeEnded,
    Event,
    KeysChanging,
    KeysExpired,
    KeysRemoved,
    ScopeCleared,
)

from .changes import Changes
from .clock import Clock
from .errors import ConfigurationError
from .late import Removal
from .loads import Load
from .options import CacheOptions, EffectiveOptions
from .positions import Position
from .snapshot import Staged
from .store import LocalStore
from .tombstones import Tombstones

__all__ = ["Scope", "Scopes"]


class Scope:
    """One scope: its entries, its options, and the loads and L2 probes under way, one of each a key."""

    __slots__ = ("_bounded", "_functions", "loads", "name", "options", "probes", "sets", "store", "strict")

    def __init__(self, name: str, options: EffectiveOptions) -> None:
        self.name = name
        self.options = options
        self.store = LocalStore(options.lru_max_keys)
        self.strict = False
        """Whether somebody who reads here refuses what is past its bound even where loading fails."""
        self.loads: dict[str, Load] = {}
        self.probes: dict[str, Load] = {}
        self.sets: dict[str, Load] = {}
        self._bounded = False
        self.abide(options)
        self._functions: dict[CodeType, Callable[[], Any]] = {}

    def serve(self, function: CodeType, annotation: Callable[[], Any]) -> None:
        """Note that a function keeps values here, and how to learn its return annotation."""
        self._functions[function] = annotation

    def annotations(self) -> list[Any]:
        """The return annotations of the functions that keep values here."""
        return [annotation() for annotation in self._functions.values()]

    def adopt(self, options: CacheOptions) -> None:
        """Take options given for this scope by name, over those that it has; see `bound` for what that raises."""
        self.bound(options.lru_max_keys)
        self.options = self.options.override(options)

    def abide(self, options: EffectiveOptions) -> None:
        """Somebody reads here under `options`: nothing is served from now on beyond their bound on staleness."""
        self.store.tighten(options.staleness_bound)
        if options.on_stale == "raise" and not self.strict:
            self.strict = True
            self.store.judge_anew()

    def bound(self, max_keys: int | UnsetType | None) -> None:
        """Size the store, where a size is given; raises `ConfigurationError` where another one was before."""
        if max_keys is UNSET:
            return
        if self._bounded and max_keys != self.store.max_keys:
            raise ConfigurationError(
                f"scope {self.name!r} already has lru_max_keys={self.store.max_keys}, "
                f"and cannot have lru_max_keys={max_keys} as well"
            )
        self._bounded = True
        self.store.resize(max_keys)

    def options_of_call(self, options: CacheOptions | None) -> EffectiveOptions:
        """The options of one call; raises `ConfigurationError` for what only a scope can have."""
        effective = self.options.override(options)
        if options is not None and options.lru_max_keys is not UNSET:
            raise ConfigurationError(
                "lru_max_keys is an option of a scope, not of a call; use cache.scope(..., options=...)"
            )
        return effective

    @contextmanager
    def setting(self, key: str, stamp: Position, began_at: float) -> Iterator[Load]:
        """A `set` that waits for its acknowledgement; a change of the same process that comes later fences it."""
        self.sets[key] = setting = Load(stamp, began_at)
        try:
            yield setting
        finally:
            if self.sets.get(key) is setting:
                del self.sets[key]

    def fence(self, key: str, before: Position | None = None) -> int:
        """Keep the loads of `key` from filling, and new callers from joining them; how many that were."""
        fenced = 0
        # the event of a set itself, once acknowledged, must not fence it; `Tombstones` judges it against others
        for running in (self.loads, self.probes, self.sets) if before is None else (self.loads, self.probes):
            load = running.get(key)
            if load is not None and (before is None or load.stamp < before):
                load.fence()
                del running[key]
                fenced += 1
        return fenced

    def fence_all(self, before: Position | None = None) -> int:
        """`fence` for every key."""
        return sum(self.fence(key, before) for key in {*self.loads, *self.probes, *self.sets})


class Scopes:
    """The stream's listener: applies events to everything this process holds."""

    def __init__(self, clock: Clock, on_attach: Callable[[], None]) -> None:
        self._clock = clock
        self._on_attach = on_attach
        self._scopes: dict[str, Scope] = {}
        self.tombstones = Tombstones()
        self.staged: Staged | None = None
        """What was read from a snapshot, until the stream is attached."""
        self.changes = Changes(clock)
        self.on_event: Callable[[Event, Position], None] | None = None
        """Told of every event that is applied, and of a reset as of one that clears everything."""
        self.fenced = 0
        self.resets = 0

    def __iter__(self) -> Iterator[Scope]:
        return iter(list(self._scopes.values()))

    def get(self, name: str, options: EffectiveOptions) -> Scope:
        """The scope of that name, made with `options` where it is new."""
        scope = self._scopes.get(name)
        if scope is None:
            if not isinstance(name, str):
                raise ConfigurationError(f"scope must be a string, not {name!r}")
            scope = self._scopes[name] = Scope(name, options)
        return scope

    def find(self, name: str | None) -> Iterable[Scope]:
        """The scope of that name if there is one; all of them for None."""
        if name is None:
            return list(self._scopes.values())
        scope = self._scopes.get(name)
        return [scope] if scope else []

    # -- what this instance does itself ----------------------------------------------------------------------

    def fence_keys(self, name: str, keys: Collection[str]) -> None:
        """Drop the entries of `keys` and fence their loads, whatever their stamps."""
        if self.staged:
            self.staged.drop_keys(name, keys)
        for scope in self.find(name):
            for key in keys:
                scope.store.discard(key)
                self.fenced += scope.fence(key)

    def fence_scopes(self, name: str | None) -> None:
        """Drop every entry and fence every load of one scope, or of all."""
        if self.staged:
            self.staged.drop_scopes(name)
        for scope in self.find(name):
            scope.store.clear()
            self.fenced += scope.fence_all()

    def fence_event(self, event: Removal) -> None:
        """The same for what `event` names."""
        match event:
            case KeysRemoved():
                self.fence_keys(event.scope, event.keys)
            case ScopeCleared():
                self.fence_scopes(event.scope)
            case _:
                self.fence_scopes(None)

    def changing(self, event: KeysChanging) -> None:
        """Keep nothing of what `event` names for its time; drop the entries and fence the loads, whatever their stamps.

        An own acknowledgement moves the stamp past events that were not applied yet. That is sound for what changed
        before its event was appended, and not for what changes after.
        """
        if self.changes.begin(event):
            self.fence_keys(event.scope, event.keys)

    # -- what the stream says --------------------------------------------------------------------------------

    def replaying(self, floor: Position, lost: str | None) -> None:
        """The tombstones are about to be learnt again, from `floor` on; what is staged cannot be, where it is lost."""
        self.tombstones.reset(floor)
        if self.staged and lost is not None:
            self.staged.lost(lost)
            self.staged = None

    def attach(self, position: Position) -> None:
        """From here on every event is applied; what was kept before was kept blindly, and makes room for the staged."""
        staged, self.staged = self.staged, None
        self.fence_scopes(None)
        if staged:
            staged.move()
        self._on_attach()

    def reset(self, position: Position, reason: str) -> None:
        """Nothing from before `position` can be trusted, in L2 neither: what was missed may have named anything."""
        self.tombstones.reset(position)
        self.tombstones.place(CacheCleared(), position)
        if self.on_event:
            self.on_event(CacheCleared(), position)
        self.fence_scopes(None)
        self.resets += 1

    def apply(self, event: Event, position: Position) -> None:
        """Place the tombstones, drop what is stamped before `position`, fence the loads that began before it."""
        self.tombstones.place(event, position)
        if self.on_event:
            self.on_event(event, position)
        if self.staged:
            self.staged.apply(event, position, self._clock.monotonic())
        match event:
            case KeysRemoved():
                for scope in self.find(event.scope):
                    for key in event.keys:
                        scope.store.discard(key, position)
                        self.fenced += scope.fence(key, position)
            case KeysExpired():
                for scope in self.find(event.scope):
                    for key in event.keys:
                        scope.store.expire(key, position, self._clock.monotonic())
                        self.fenced += scope.fence(key, position)
            case KeysChanging():
                self.changing(event)
            case ChangeEnded():
                self.changes.end(event.change)
            case ScopeCleared():
                self._clear(event.scope, position)
            case CacheCleared():
                self._clear(None, position)
            case _:
                # tags reach L1 with the entries that carry them; instance events are for the fleet
                pass

    def _clear(self, name: str | None, position: Position) -> None:
        for scope in self.find(name):
            scope.store.clear(position)
            self.fenced += scope.fence_all(position)

    def may_set(self, scope: str, key: str, stamp: Position) -> bool:
        """Whether a value that was set, and whose event is at `stamp`, may be kept."""
        return not self.changes.cover(scope, key) and self.tombstones.allow(scope, key, stamp, stamp)

    def may_keep(self, scope: str, key: str, stamp: Position, load: Load) -> bool:
        """Whether a value stamped `stamp`, brought by `load`, may be kept."""
        return not (load.fenced or self.changes.cover(scope, key)) and self.tombstones.allow(
            scope, key, stamp, load.stamp
        )
