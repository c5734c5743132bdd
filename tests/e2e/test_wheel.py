"""What users install: the built wheel, in virtual environments that hold nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.apps import App
from tests.e2e.test_tutorial import check_tutorial
from tests.e2e.tutorial import main_py

ROOT = Path(__file__).parents[2]

BARE = """
import asyncio, json, sys
import async_hybrid_cache as ahc

def refusal(call):
    try:
        call()
    except ahc.CacheError as error:
        return str(error)

async def through_sqlite():
    async def load():
        return "loaded"
    async with ahc.AsyncHybridCache.from_url("sqlite:///cache.db") as cache:
        return [await cache.get_or_set("k", load), cache.health().status, (await cache.remove("k")).queued]

clients = {"redis", "nats", "aiokafka", "pydantic", "fastapi", "sqlite3"}
print(json.dumps({
    "file": ahc.__file__,
    "imported": sorted(clients & set(sys.modules)),
    "class": refusal(lambda: ahc.RedisDistributedCache),
    "url": refusal(lambda: ahc.AsyncHybridCache.from_url("redis://user:geheim@localhost:6379/0")),
    "sqlite": asyncio.run(through_sqlite()),
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command, which has to succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as a release is."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def installed(folder: Path, *packages: str | Path) -> Path:
    """The interpreter of a new virtual environment that holds `packages` and what they need."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input", "install")
    run(*pip, "--quiet", *packages, cwd=folder)
    return python


def test_the_tutorial_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    python = installed(tmp_path / "venv", wheel, "fastapi", "uvicorn")
    (tmp_path / "main.py").write_text(main_py())
    with App(tmp_path, python=python) as app, httpx.Client(base_url=app.url) as client:
        check_tutorial(client)


def test_the_bare_wheel_needs_msgspec_alone(wheel: Path, tmp_path: Path) -> None:
    python = installed(tmp_path / "venv", wheel)
    found = json.loads(run(python, "-W", "error", "-c", BARE, cwd=tmp_path))
    assert Path(found["file"]).is_relative_to(tmp_path / "venv")
    assert found["imported"] == []
    for refusal in (found["class"], found["url"]):
        assert "pip install 'async-hybrid-cache[redis]'" in refusal
        assert "geheim" not in refusal
    assert found["sqlite"] == ["loaded", "ok", False]
    listed = json.loads(run(sys.executable, "-m", "pip", "--python", python, "list", "--format=json", cwd=tmp_path))
    assert {package["name"] for package in listed} == {"async-hybrid-cache", "msgspec"}
