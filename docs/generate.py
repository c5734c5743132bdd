"""Writes the tables of the documentation from the code: `python docs/generate.py`.

What stands between `<!-- generated: Name -->` and `<!-- end -->` is the table of the class `Name`: its docstring's
list, with the defaults of the code. A list that leaves an option out, or tells another default, is an error.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import async_hybrid_cache
from async_hybrid_cache import (
    AsyncHybridCache,
    CacheOptions,
    CacheStats,
    Health,
    InvalidationPublisher,
    OutboxRelay,
    StreamOptions,
)
from async_hybrid_cache.config import Configuration
from async_hybrid_cache.config.keys import SECTIONS, VARIABLES, wanted
from async_hybrid_cache.options import EffectiveOptions
from async_hybrid_cache.stats import DistributedStats, ScopeStats, SnapshotStats, StreamStats, SubscriptionStats

DOCS = Path(__file__).parent
PAGES = sorted(DOCS.glob("*.md"))

_MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ITEM = re.compile(r"- ((?:`\w+`(?:, )?)+)(?: \(([^)]*)\))?: (.+)")


class Row(NamedTuple):
    """One item of a docstring's list."""

    name: str
    default: str
    meaning: str


def generated(page: str) -> str:
    """`page` with all its tables as they should be."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{_SECTIONS[found[2]]()}\n\n{found[3]}", page)


def rows(documented: type) -> list[Row]:
    """The list in a docstring."""
    found: list[Row] = []
    for block in re.split(r"\n(?=- )|\n\n", inspect.getdoc(documented) or ""):
        if match := _ITEM.fullmatch(" ".join(block.split())):
            default = (match[2] or "").removeprefix("default ")
            found += [Row(name, default, match[3]) for name in re.findall(r"\w+", match[1])]
    return found


def options(documented: type, defaults: dict[str, Any]) -> str:
    """A table of options with their defaults."""
    found = rows(documented)
    _complete(documented, [row.name for row in found], list(defaults))
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for row in found:
        default = _default(documented, row, defaults[row.name])
        lines.append(f"| `{row.name}` | {default} | {_cell(row.meaning)} |")
    return "\n".join(lines)


def keys(section: str, documented: type, defaults: dict[str, Any]) -> str:
    """A table of the keys of a configuration, with the variables of the environment."""
    found = {row.name: row for row in rows(documented)}
    types = SECTIONS[section]
    _complete(documented, list(found), list(types))
    variables = {path: name for name, path in VARIABLES.items()}
    lines = ["| key | variable | value | default | meaning |", "|---|---|---|---|---|"]
    for name, row in found.items():
        path = (section, name) if section else (name,)
        variable = f"`{variables[path]}`" if path in variables else "in code only"
        default = _default(documented, row, defaults[name])
        lines.append(f"| `{'.'.join(path)}` | {variable} | {wanted(types[name])} | {default} | {_cell(row.meaning)} |")
    return "\n".join(lines)


def fields(documented: type[msgspec.Struct]) -> str:
    """A table of a struct's fields."""
    found = rows(documented)
    _complete(documented, [row.name for row in found], list(documented.__struct_fields__))
    lines = ["| field | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{row.name}` | {_cell(row.meaning)} |" for row in found)])


def signature(name: str) -> str:
    """How a class is called, and its docstring."""
    documented = getattr(async_hybrid_cache, name)
    call = inspect.signature(documented)
    plain = [parameter.replace(annotation=parameter.empty) for parameter in call.parameters.values()]
    taken = call.replace(parameters=plain, return_annotation=call.empty)
    return f"`{name}{taken}`\n\n{inspect.getdoc(documented)}"


def _parameters(call: Callable[..., Any]) -> dict[str, Any]:
    return {p.name: p.default for p in inspect.signature(call).parameters.values() if p.name != "self"}


def _default(documented: type, row: Row, actual: Any) -> str:
    """The default of the code, if the docstring says the same."""
    if actual is inspect.Parameter.empty:
        return "required"
    shown = _shown(actual)
    told = row.default.strip("`").replace(" ", "_")
    if told == "random" and actual is None:
        return told
    if told and told != shown.strip("'"):
        raise SystemExit(f"{documented.__name__}.{row.name}: the docstring says {told}, the code {shown}")
    return f"`{shown}`"


def _top_defaults() -> dict[str, Any]:
    of_cache = _parameters(AsyncHybridCache)
    of_url = _parameters(AsyncHybridCache.from_url)
    given = {"bus": None, "l2": None, "namespace": of_url["namespace"]}
    return {name: given[name] if name in given else of_cache[name] for name in SECTIONS[""]}


def _complete(documented: type, told: list[str], actual: list[str]) -> None:
    if wrong := set(told) ^ set(actual):
        raise SystemExit(f"the docstring of {documented.__name__} and its code differ in {', '.join(sorted(wrong))}")


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return getattr(value, "__name__", None) or repr(value)
    return f"{value:_}".removesuffix(".0")


def _cell(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}".replace("|", "\\|")


_STRUCTS: tuple[type[msgspec.Struct], ...] = (
    CacheStats,
    ScopeStats,
    DistributedStats,
    StreamStats,
    SubscriptionStats,
    SnapshotStats,
    Health,
)
_OPTIONS = msgspec.structs.asdict(EffectiveOptions())
_SECTIONS: dict[str, Callable[[], str]] = {
    **{
        documented.__name__: partial(options, documented, _parameters(documented))
        for documented in (AsyncHybridCache, StreamOptions, InvalidationPublisher, OutboxRelay)
    },
    "CacheOptions": partial(options, CacheOptions, _OPTIONS),
    "Configuration": lambda: keys("", Configuration, _top_defaults()),
    "ConfigurationOptions": partial(keys, "options", CacheOptions, _OPTIONS),
    "ConfigurationStream": partial(keys, "stream", StreamOptions, _parameters(StreamOptions)),
    **{struct.__name__: partial(fields, struct) for struct in _STRUCTS},
    **{name: partial(signature, name) for name in async_hybrid_cache._BROKERS},
}


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(generated(page.read_text()))
