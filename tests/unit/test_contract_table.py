"""The report on the contract: what counts as missing, and what the table shows."""

from __future__ import annotations

from itertools import product

from async_hybrid_cache.testing.log_contract import LogContract
from tests.contract.table import BROKERS, Table


class Basics:
    """How it is on a good day."""

    def test_one(self) -> None: ...

    def test_two_of_them(self) -> None: ...


def table() -> Table:
    """Everything passed."""
    table = Table((Basics,))
    for row, broker in product(("test_one", "test_two_of_them"), BROKERS):
        table.add(row, broker, "passed")
    return table


def test_a_table_without_a_hole_has_no_faults() -> None:
    assert list(table().faults()) == []
    assert Table((Basics,)).empty
    assert not table().empty


def test_a_row_that_was_not_run_is_a_fault_on_each_broker() -> None:
    found = Table((Basics,))
    for broker in BROKERS:
        found.add("test_one", broker, "passed")
    assert list(found.faults()) == [f"{broker}: two of them: was not run" for broker in BROKERS]


def test_a_skip_is_a_fault_without_a_flag_that_the_broker_may_lack() -> None:
    found = Table((Basics,))
    for row, broker in product(("test_one", "test_two_of_them"), BROKERS):
        found.add(row, broker, "skipped", "Skipped: has_server = False")
    assert {fault.partition(":")[0] for fault in found.faults()} == {"redis", "nats", "kafka"}
    found = table()
    found.add("test_one", "sqlite", "skipped", "Skipped: survives_restart = False")
    found.add("test_one", "memory", "skipped", "Skipped: no time")
    assert list(found.faults()) == ["memory: one: was skipped", "sqlite: one: was skipped"]


def test_the_worst_of_several_tests_of_a_row_counts() -> None:
    found = table()
    found.add("test_one", "kafka", "failed")
    found.add("test_one", "kafka", "passed")
    assert [line.split() for line in found.lines()] == [
        list(BROKERS),
        ["Basics"],
        ["one", "yes", "yes", "yes", "yes", "FAILS"],
        ["two", "of", "them", *["yes"] * 5],
    ]


def test_markdown_has_every_row_and_broker() -> None:
    found = Table((Basics,))
    found.add("test_one", "memory", "skipped", "Skipped: has_server = False")
    found.add("test_one", "redis", "passed")
    assert found.markdown().splitlines()[:5] == [
        "| | memory | sqlite | redis | nats | kafka |",
        "|---|---|---|---|---|---|",
        "| **How it is on a good day** | | | | | |",
        "| one | - |  | yes |  |  |",
        "| two of them |  |  |  |  |  |",
    ]


def test_the_parts_hold_every_row_of_the_contract_once() -> None:
    rows = [name for part in LogContract.__bases__ for name in vars(part) if name.startswith("test_")]
    assert len(rows) == len(set(rows))
    assert set(rows) == {name for name in dir(LogContract) if name.startswith("test_")}
