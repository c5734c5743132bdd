from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.environments import ROOT, built


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release is."""
    return built(ROOT, tmp_path_factory.mktemp("dist"))
