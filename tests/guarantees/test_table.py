"""What a cell shows: tests that passed, and nothing that failed or did not run."""

from __future__ import annotations

from async_hybrid_cache.testing.promises import Shown, promise, shown_by
from tests.guarantees.page import rows, written
from tests.guarantees.table import NOT_SHOWN, Cell, Guarantees

FAULT = "server back empty"
PAGE = "by hand\n<!-- from the run: 3 -->\nold\n<!-- end -->\nby hand\n"


def cell(broker: str, test: str = "test_one_thing") -> Cell:
    return Cell(3, FAULT, broker, "tests/file.py", test)


def table(found: Guarantees) -> dict[str, list[str]]:
    page = written(PAGE, found.markdown)
    assert page.startswith("by hand\n")
    assert page.endswith("<!-- end -->\nby hand\n")
    assert written(page, found.markdown) == page
    return rows(page)[3]


def test_a_cell_names_the_tests_that_passed() -> None:
    found = Guarantees()
    found.add(cell("redis", "test_two"), True)
    found.add(cell("redis"), True)
    one, two = "[one thing](../tests/file.py)", "[two](../tests/file.py)"
    assert table(found) == {FAULT: ["has no server", f"{one}<br>{two}", NOT_SHOWN, NOT_SHOWN]}


def test_one_failure_among_its_parameters_takes_a_test_out() -> None:
    found = Guarantees()
    for passed in (True, False, True):
        found.add(cell("kafka"), passed)
    found.add(cell("nats"), True)
    assert table(found)[FAULT][2:] == ["[one thing](../tests/file.py)", NOT_SHOWN]


def test_a_test_may_show_several_promises() -> None:
    def test() -> None: ...

    both = promise(1, fault="log {loss}")(promise(6, fault=FAULT)(test))
    assert shown_by(both) == (Shown(1, "log {loss}"), Shown(6, FAULT))
    assert shown_by(table) == ()
