"""The contract as docs/new-broker.md says to run it, far from this repository's own fixtures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.examples import ROOT, chains

PAGE = ROOT / "docs" / "new-broker.md"


def test_the_test_file_on_the_page_passes(tmp_path: Path) -> None:
    (chain,) = chains(PAGE)
    ((_, source),) = chain.blocks
    (tmp_path / "test_memory_log.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-W", "error", "-p", "no:cacheprovider", "test_memory_log.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reasons = {re.sub(r".*: ", "", line) for line in done.stdout.splitlines() if line.startswith("SKIPPED")}
    assert reasons == {f"{flag} = False" for flag in ("survives_restart", "has_server", "has_credentials")}
