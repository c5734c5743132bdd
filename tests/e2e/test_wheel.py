"""What users install: the built wheel, in virtual environments that hold nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.apps import App
from tests.e2e.environments import installed, packages, run
from tests.e2e.test_tutorial import check_tutorial
from tests.e2e.tutorial import main_py

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

clients = {"redis", "nats", "aiokafka", "asyncpg", "pydantic", "fastapi", "sqlite3"}
print(json.dumps({
    "file": ahc.__file__,
    "imported": sorted(clients & set(sys.modules)),
    "class": refusal(lambda: ahc.RedisDistributedCache),
    "redis": refusal(lambda: ahc.AsyncHybridCache.from_url("redis://user:geheim@localhost:6379/0")),
    "nats": refusal(lambda: ahc.AsyncHybridCache.from_url("nats://user:geheim@localhost:4222")),
    "kafka": refusal(lambda: ahc.AsyncHybridCache.from_url("kafka://user:geheim@localhost:9092")),
    "sqlite": asyncio.run(through_sqlite()),
}))
"""

EXTRA = """
import sys
from async_hybrid_cache import AsyncHybridCache

cache = AsyncHybridCache.from_url(sys.argv[1])
print(cache.health().status)
"""

CLIENTS = {"redis": "redis", "nats": "nats-py", "kafka": "aiokafka"}
URLS = {
    "redis": "redis://user:geheim@127.0.0.1:6379/0",
    "nats": "nats://user:geheim@127.0.0.1:4222",
    "kafka": "kafka://127.0.0.1:9092",
}


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
    for name in ("class", "redis", "nats", "kafka"):
        extra = "redis" if name == "class" else name
        assert f"pip install 'async-hybrid-cache[{extra}]'" in found[name]
        assert "geheim" not in found[name]
    assert found["sqlite"] == ["loaded", "ok", False]
    assert packages(python) == {"async-hybrid-cache", "msgspec"}


@pytest.mark.parametrize("extra", CLIENTS)
def test_an_extra_brings_its_own_client_and_no_other(wheel: Path, tmp_path: Path, extra: str) -> None:
    python = installed(tmp_path / "venv", f"async-hybrid-cache[{extra}] @ {wheel.as_uri()}")
    assert run(python, "-W", "error", "-c", EXTRA, URLS[extra], cwd=tmp_path).strip()
    found = packages(python)
    assert CLIENTS[extra] in found
    assert not found & (set(CLIENTS.values()) - {CLIENTS[extra]})
