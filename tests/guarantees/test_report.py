"""A test that shows something the tables have no place for is refused when it is collected, not after the run."""

from __future__ import annotations

from typing import Any

import pytest

from async_hybrid_cache.testing.promises import promise
from tests.guarantees.report import GuaranteesReport


@pytest.mark.parametrize(("number", "fault"), [(1, "thunder"), (0, "nothing fails"), (10, "nothing fails")])
def test_a_promise_or_a_fault_that_no_table_has_is_refused(
    number: int, fault: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    item: Any = request.node
    monkeypatch.setattr(item, "_obj", promise(number, fault=fault)(lambda: None))
    with pytest.raises(pytest.UsageError, match=f"promise {number} under '{fault}'"):
        GuaranteesReport().pytest_itemcollected(item)
