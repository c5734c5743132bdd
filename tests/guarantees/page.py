"""`docs/guarantees.md`: written by hand, but for what stands between `<!-- from the run: N -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["PAGE", "rows", "written"]

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"

_TABLE = re.compile(r"(<!-- from the run: (\d) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(text: str, table: Callable[[int], str]) -> str:
    """`text` with the table of each promise in its place."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{table(int(found[2]))}\n\n{found[3]}", text)


def rows(text: str) -> dict[int, dict[str, list[str]]]:
    """By promise and fault, the cells of the tables in `text`."""
    found: dict[int, dict[str, list[str]]] = {}
    for table in _TABLE.finditer(text):
        lines = [line.strip("| ").split(" | ") for line in table[0].splitlines() if line.startswith("| ")]
        found[int(table[2])] = {fault: cells for fault, *cells in lines[1:]}
    return found
