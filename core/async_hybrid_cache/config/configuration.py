"""A configuration: which bus, which L2 and which options, from a file, the environment or a mapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..bus import InvalidationBus, StreamOptions
from ..distributed import DistributedCache
from ..errors import ConfigurationError
from ..options import CacheOptions
from ..registry import find_broker, find_checkpoints
from .keys import SECTIONS, Setting, checked, nearest, shown
from .source import Source, settings

__all__ = ["Configuration", "read_configuration"]


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration asks for, built and ready to be used; nothing of it is started.

    - `bus` (None): URL of the log that tells the other instances of changes; left out for a single process.
    - `l2` (None): URL of the L2; left out for none.
    - `namespace` (`ahc`): separates applications that share a server.
    - `require_bus` (False): `start` raises where the log cannot be reached, instead of trying on in background.
    - `distributed_timeout_seconds` (0.5): what one call of L2 may take before L2 counts as away.
    - `lease_seconds` (10): how long a miss reserves the right to fill L2 at most, and so how long others wait for a
      process that died loading; never longer than a load may run, which is twice `hard_timeout_seconds`.
    - `snapshot` (None): the path under which L1 is kept over restarts, in one file a process; needs a bus.
    - `snapshot_seconds` (30): how often it is written, beside on stop.
    """

    bus: InvalidationBus | None
    new_distributed_cache: Callable[[], DistributedCache | None]
    """Makes one more handle on the L2; None where there is none."""
    options: CacheOptions
    scopes: dict[str, CacheOptions]
    others: dict[str, Any]
    """Arguments of `AsyncHybridCache` by name, those that were given."""


def read_configuration(source: Source = None) -> Configuration:
    """Read all of `source` and check it, before anything of it is used.

    Raises one `ConfigurationError` that names everything that is wrong: each key with its path and place, and
    the fix. No error and no repr holds a URL or an unknown value, since a credential could be in it.
    """
    return _Reading(source).configuration()


class _Reading:
    """One pass over a source, gathering what is wrong with it."""

    def __init__(self, source: Source) -> None:
        self.problems: list[str] = []
        self.found: dict[tuple[str, ...], Setting] = {}
        for setting in settings(source):
            if isinstance(setting, ConfigurationError):
                self.problems.append(str(setting))
            else:
                self.found[setting.path] = setting

    def configuration(self) -> Configuration:
        top: dict[str, Any] = {}
        stream: dict[str, Any] = {}
        options: dict[str, Any] = {}
        scopes: dict[str, dict[str, Any]] = {}
        for path, setting in self.found.items():
            match path:
                case ("options", name):
                    self._put(options, name, setting, "options")
                case ("scopes", scope, name):
                    self._put(scopes.setdefault(scope, {}), name, setting, "options")
                case ("stream", name):
                    self._put(stream, name, setting, "stream")
                case (name, *_):
                    self._put(top, name, setting, "")
        namespace = top.pop("namespace", "ahc")
        url = top.pop("bus", None)
        self._open_checkpoints(stream, namespace)
        bus = self._bus(url, namespace, stream)
        new_cache = self._new_distributed_cache(top.pop("l2", None), namespace)
        if self.problems:
            raise ConfigurationError("\n".join(self.problems))
        return Configuration(
            bus=bus,
            new_distributed_cache=new_cache,
            options=CacheOptions(**options),
            scopes={scope: CacheOptions(**own) for scope, own in scopes.items()},
            others=top,
        )

    def _put(self, into: dict[str, Any], name: str, setting: Setting, section: str) -> None:
        known = SECTIONS[section]
        if name not in known:
            near = nearest(shown(name), known if section else [*known, "options", "scopes", "stream"])
            path = ".".join([*map(shown, setting.path[:-1]), near])
            self.problems.append(f"no key {setting.name} is known; did you mean {path}? ({setting.place})")
            return
        try:
            into[name] = checked(setting, section)
        except ConfigurationError as error:
            self.problems.append(str(error))

    def _open_checkpoints(self, stream: dict[str, Any], namespace: str) -> None:
        url = stream.pop("checkpoints", None)
        if url is None:
            return
        try:
            stream["checkpoints"] = find_checkpoints(url, namespace=namespace)
        except ConfigurationError as error:
            self._refuse(("stream", "checkpoints"), error)

    def _bus(self, url: str | None, namespace: str, stream: dict[str, Any]) -> InvalidationBus | None:
        try:
            options = StreamOptions(**stream)
        except ConfigurationError as error:
            self.problems.append(f"stream: {error}")
            return None
        if url is None:
            return None
        try:
            return find_broker(url).bus(url, namespace=namespace, stream=options)
        except ConfigurationError as error:
            self._refuse(("bus",), error)
            return None

    def _new_distributed_cache(self, url: str | None, namespace: str) -> Callable[[], DistributedCache | None]:
        if url is None:
            return lambda: None
        try:
            broker = find_broker(url)
            # one that cannot be made is refused here
            if broker.distributed_cache(url, namespace=namespace) is None:
                scheme = url.partition("://")[0]
                raise ConfigurationError(f"{scheme}:// holds no values; leave l2 out or name another")
        except ConfigurationError as error:
            self._refuse(("l2",), error)
            return lambda: None
        return lambda: broker.distributed_cache(url, namespace=namespace)

    def _refuse(self, path: tuple[str, ...], error: ConfigurationError) -> None:
        setting = self.found[path]
        self.problems.append(f"{setting.name}: {error} ({setting.place})")
