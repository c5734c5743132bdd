"""The committed page names tests that exist, all of them, and leaves no hole."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.guarantees.faults import BROKERS, FAULTS
from tests.guarantees.page import PAGE, rows
from tests.guarantees.table import PROMISES

ROOT = PAGE.parents[1]
PLACES = (ROOT / "tests", ROOT / "core" / "async_hybrid_cache" / "testing")
ROWS = rows(PAGE.read_text())
_LINK = re.compile(r"\[([^]]+)\]\(\.\./([^)]+)\)")
_PARAMETER = re.compile(r"\\\{\w+\\\}")

Marked = tuple[int, str, str, str]
"""A promise, a fault, a file and the name of a test in it."""


def marked() -> Iterator[Marked]:
    """What the sources say, parameters in the fault included."""
    for path in (path for place in PLACES for path in place.rglob("*.py")):
        text = path.read_text()
        if "@promise(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in (each for each in node.decorator_list if isinstance(each, ast.Call)):
                    if isinstance(call.func, ast.Name) and call.func.id == "promise":
                        number, fault = (ast.literal_eval(each) for each in (call.args[0], call.keywords[0].value))
                        yield number, fault, str(path.relative_to(ROOT)), node.name


def told() -> set[Marked]:
    """What the page says."""
    return {
        (promise, fault, file, f"test_{name.replace(' ', '_')}")
        for promise, table in ROWS.items()
        for fault, cells in table.items()
        for cell in cells
        for name, file in _LINK.findall(cell)
    }


def matches(one: Marked, other: Marked) -> bool:
    """Whether the page's `other` is what the sources' `one` says."""
    pattern = _PARAMETER.sub(".+", re.escape(one[1]))
    return (one[0], *one[2:]) == (other[0], *other[2:]) and re.fullmatch(pattern, other[1]) is not None


@pytest.mark.parametrize("promise", PROMISES)
def test_every_fault_has_a_test_or_a_reason_on_every_broker(promise: int) -> None:
    assert ROWS[promise]
    for fault, cells in ROWS[promise].items():
        for broker, cell in zip(BROKERS, cells, strict=True):
            assert _LINK.search(cell) or cell == FAULTS[fault].get(broker), f"{fault}, {broker}: {cell}"
    for broker, column in zip(BROKERS, zip(*ROWS[promise].values(), strict=True), strict=True):
        assert any(map(_LINK.search, column)), f"nothing shows it on {broker}"


def test_the_page_names_every_test_that_shows_a_promise_and_no_other() -> None:
    said, shown = set(marked()), told()
    again = "run: make guarantees"
    assert {one for one in said if not any(matches(one, other) for other in shown)} == set(), again
    assert {other for other in shown if not any(matches(one, other) for one in said)} == set(), again


def test_every_fault_of_the_list_is_in_a_table() -> None:
    assert {fault for table in ROWS.values() for fault in table} == set(FAULTS)
