"""The tables in the documentation are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate import PAGES, generated, keys, options
from tests.docs.examples import ROOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert text == generated(text), f"run: python docs/generate.py ({page.name} is stale)"


def test_a_stale_table_is_noticed() -> None:
    text = (ROOT / "docs" / "options.md").read_text()
    stale = text.replace("| `ttl_seconds` | `60` |", "| `ttl_seconds` | `61` |")
    assert stale != text == generated(stale)


def test_a_default_that_the_docstring_tells_wrongly_is_an_error() -> None:
    class Documented:
        """- `seconds` (5): how long."""

    assert options(Documented, {"seconds": 5.0}).endswith("| `seconds` | `5` | How long |")
    with pytest.raises(SystemExit, match="seconds: the docstring says 5, the code 6"):
        options(Documented, {"seconds": 6.0})
    with pytest.raises(SystemExit, match="differ in minutes"):
        options(Documented, {"seconds": 5.0, "minutes": 1})


def test_a_key_is_shown_with_its_variable_its_type_and_the_default_of_the_code() -> None:
    table = generated((ROOT / "docs" / "configuration.md").read_text())
    row = (
        "| `options.lru_max_keys` | `ASYNC_HYBRID_CACHE_OPTIONS__LRU_MAX_KEYS` | a whole number or 'none' | `10_000` | "
    )
    assert row in table
    assert "| `options.fail_safe_on` | in code only | a function | `is_outage` | " in table


def test_a_key_that_the_docstring_leaves_out_is_an_error() -> None:
    class Documented:
        """- `bus` (None): where."""

    with pytest.raises(SystemExit, match=r"differ in .*, l2, .*namespace"):
        keys("", Documented, {"bus": None})
