"""Every Python block of the documentation runs, as it stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.examples import PAGES, Chain, chains, run

CHAINS = [chain for page in PAGES for chain in chains(page)]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_a_block_runs(chain: Chain, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run(chain, tmp_path, {name: request.getfixturevalue(name).url for name in chain.needs})


def test_no_block_is_left_out() -> None:
    fences = sum(page.read_text().count("```py") for page in PAGES)
    assert sum(len(chain.blocks) for chain in CHAINS) == fences > 0


def test_a_block_that_fails_fails_its_test(tmp_path: Path) -> None:
    chain = Chain(PAGES[0], [(7, "async def one():\n    return 1\n"), (12, "assert await one() == 2\n")])
    with pytest.raises(AssertionError, match=r'README.md", line 12'):
        run(chain, tmp_path)


def test_the_readme_serves(tmp_path: Path) -> None:
    """The service at the head of README answers as README says."""
    service = next(chain for chain in chains(PAGES[0]) if "FastAPI" in chain.blocks[0][1])
    run(
        service,
        tmp_path,
        then="""
import httpx

transport = httpx.ASGITransport(app)
async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://test") as client:
    assert (await client.get("/users/123")).json() == {"id": "123", "name": "Peter"}
    USERS["123"]["name"] = "changed behind the cache"
    assert (await client.get("/users/123")).json()["name"] == "Peter"
    assert (await client.put("/users/123?name=Paul")).json()["name"] == "Paul"
    assert (await client.get("/users/123")).json()["name"] == "Paul"
    assert (await client.get("/users/456")).status_code == 404
""",
    )
