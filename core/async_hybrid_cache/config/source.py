"""Where a configuration comes from: a TOML file, the environment, or a mapping in code."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from ..errors import ConfigurationError
from .keys import PREFIX, VARIABLES, Setting, nearest, shown

__all__ = ["Source", "settings"]

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | None

_FILE = f"{PREFIX}CONFIG"
_TABLES = ("options", "stream", "scopes")


def settings(source: Source) -> Iterator[Setting | ConfigurationError]:
    """Everything that `source` says; what is said later replaces what was said before.

    A mapping is taken as it is. A path names a TOML file, and None the one in `ASYNC_HYBRID_CACHE_CONFIG`, if
    any; then the environment follows. What cannot be a setting comes as an error, so that all are found at once.
    """
    if isinstance(source, Mapping):
        yield from _of_mapping(source, "in the mapping")
        return
    if source is None:
        source = os.environ.get(_FILE)
        where = f" named by {_FILE}"
    else:
        where = ""
    if source is not None:
        yield from _of_mapping(_parsed(source, where), f"in {os.fspath(source)}")
    yield from _of_environment()


def _parsed(path: str | os.PathLike[str], where: str) -> dict[str, Any]:
    if not isinstance(path, str | os.PathLike) or (isinstance(path, str) and ("://" in path or "\0" in path)):
        # not repeated: it may be a URL with a password in it
        raise ConfigurationError(
            f"the configuration{where} is no path of a file, mapping or None; for a URL use from_url(...)"
        )
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"the file {name!r}{where} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        # its cause could show the text, passwords included
        raise ConfigurationError(f"the file {name!r}{where} is not valid TOML: {error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"the file {name!r}{where} is not valid TOML: not UTF-8") from None


def _of_mapping(mapping: Mapping[Any, Any], place: str) -> Iterator[Setting | ConfigurationError]:
    for key, value in mapping.items():
        if key not in _TABLES:
            yield Setting((key,), value, place)
        elif not isinstance(value, Mapping):
            yield ConfigurationError(f"{key} must be a table, not {type(value).__name__} ({place})")
        elif key == "scopes":
            for scope, options in value.items():
                if isinstance(scope, str) and isinstance(options, Mapping):
                    yield from (Setting((key, scope, name), option, place) for name, option in options.items())
                else:
                    yield ConfigurationError(f"scopes.{shown(scope)} must be a table of options ({place})")
        else:
            yield from (Setting((key, name), option, place) for name, option in value.items())


def _of_environment() -> Iterator[Setting | ConfigurationError]:
    for name, value in os.environ.items():
        if not name.startswith(PREFIX) or name == _FILE:
            continue
        path = VARIABLES.get(name)
        if path is None:
            near = nearest(name.upper(), [*VARIABLES, _FILE])
            yield ConfigurationError(f"no variable {name} in the environment is known; did you mean {near}?")
        else:
            yield Setting(path, value, name, text=True)
