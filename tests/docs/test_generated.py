"""The tables in the documentation are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate import PAGES, generated, options
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
