"""Distributions as a release builds them, in virtual environments that hold nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "built", "installed", "packages", "run"]

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command, which has to succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(source: Path, folder: Path) -> Path:
    """The wheel of the distribution in `source`."""
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installed(folder: Path, *wanted: str | Path) -> Path:
    """The interpreter of a new virtual environment that holds what is `wanted` and what that needs."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    run(*_pip(python), "--no-input", "install", "--quiet", *wanted, cwd=folder)
    return python


def packages(python: Path) -> set[str]:
    """The names of what is installed beside that interpreter."""
    listed = run(*_pip(python), "list", "--format=json", cwd=python.parent)
    return {package["name"].lower() for package in json.loads(listed)}


def _pip(python: Path) -> tuple[str | Path, ...]:
    return (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
