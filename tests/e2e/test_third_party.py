"""A broker of somebody else's, in a distribution of its own: found by its URL, and held to the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.environments import built, installed, packages, run

SOURCE = Path(__file__).with_name("third_party")

USE = """
import asyncio, json, sys
from async_hybrid_cache import AsyncHybridCache, ConfigurationError
from async_hybrid_cache.publisher import InvalidationPublisher

url = sys.argv[1]
values = ["old", "new"]

async def load():
    return values[0]

async def main():
    async with AsyncHybridCache.from_config({"bus": url, "namespace": "shop"}) as one:
        async with AsyncHybridCache.from_url(url, namespace="shop") as two:
            seen = [await cache.get_or_set("k", load) for cache in (one, two)]
            values.pop(0)
            async with InvalidationPublisher.from_url(url, namespace="shop") as publish:
                position = (await publish.remove("k")).position
            while [cache.stats().stream.position for cache in (one, two)] != [str(position)] * 2:
                await asyncio.sleep(0.01)
            seen += [await cache.get_or_set("k", load) for cache in (one, two)]
            return seen, [cache.health().status for cache in (one, two)], one.stats().stream.gap_total

try:
    AsyncHybridCache.from_url("floppy:///x")
except ConfigurationError as error:
    unknown = str(error)
print(json.dumps([*asyncio.run(asyncio.wait_for(main(), 30)), unknown]))
"""


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter beside which our wheel, the other distribution and pytest are installed."""
    folder = tmp_path_factory.mktemp("third-party")
    return installed(folder / "venv", wheel, built(SOURCE, folder), "pytest")


def test_it_is_found_by_its_url(python: Path, tmp_path: Path) -> None:
    assert {"ahc-folder-broker", "async-hybrid-cache"} <= packages(python)
    told = run(python, "-W", "error", "-c", USE, f"folder://{tmp_path}/log", cwd=tmp_path)
    seen, health, gaps, unknown = json.loads(told)
    assert seen == ["old", "old", "new", "new"]
    assert health == ["ok", "ok"]
    assert gaps == 0
    assert unknown.startswith("no broker for the scheme 'floppy'; installed: folder, kafka,")


def test_it_passes_the_contract(python: Path, tmp_path: Path) -> None:
    """As its author would run it: the shipped suite, in an environment without our sources."""
    contract = tmp_path / "test_contract.py"
    contract.write_text((SOURCE / "contract.py").read_text())
    told = run(python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", contract, cwd=tmp_path)
    assert " passed" in told
    assert "failed" not in told
