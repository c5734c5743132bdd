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
from async_hybrid_cache import AsyncHybridCache, CacheOptions, CacheStats, Health, StreamOptions
from async_hybrid_cache.options import EffectiveOptions
from async_hybrid_cache.stats import DistributedStats, ScopeStats, StreamStats

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
        default = _shown(defaults[row.name])
        told = row.default.strip("`").replace(" ", "_")
        if told and told != default and not (told == "random" and default == "None"):
            raise SystemExit(f"{documented.__name__}.{row.name}: the docstring says {told}, the code {default}")
        lines.append(f"| `{row.name}` | {'random' if told == 'random' else f'`{default}`'} | {_cell(row.meaning)} |")
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


def _complete(documented: type, told: list[str], actual: list[str]) -> None:
    if wrong := set(told) ^ set(actual):
        raise SystemExit(f"the docstring of {documented.__name__} and its code differ in {', '.join(sorted(wrong))}")


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return getattr(value, "__name__", None) or repr(value)
    return f"{value:_}".removesuffix(".0")


def _cell(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}".replace("|", "\\|")


_STRUCTS: tuple[type[msgspec.Struct], ...] = (CacheStats, ScopeStats, DistributedStats, StreamStats, Health)
_SECTIONS: dict[str, Callable[[], str]] = {
    "CacheOptions": partial(options, CacheOptions, msgspec.structs.asdict(EffectiveOptions())),
    "StreamOptions": partial(options, StreamOptions, _parameters(StreamOptions)),
    "AsyncHybridCache": partial(options, AsyncHybridCache, _parameters(AsyncHybridCache)),
    **{struct.__name__: partial(fields, struct) for struct in _STRUCTS},
    **{name: partial(signature, name) for name in async_hybrid_cache._BROKERS},
}


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(generated(page.read_text()))
