"""The types survive the decorator: mypy --strict, and pyright as its users run it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CASES = Path(__file__).with_name("typing_cases.py")


def test_mypy_strict(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--cache-dir", str(tmp_path), str(CASES)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_pyright(tmp_path: Path) -> None:
    settings = {
        "include": [CASES.name], "extraPaths": [str(ROOT / name) for name in ("core", "brokers", "codecs")],
        "typeCheckingMode": "standard", "reportUnnecessaryTypeIgnoreComment": "error", "pythonVersion": "3.11",
    }  # fmt: skip
    shutil.copy(CASES, tmp_path)
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--project", str(project)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
