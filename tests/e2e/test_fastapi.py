"""Cached functions wherever FastAPI takes a function: endpoint, dependency, method of a service."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

with warnings.catch_warnings():
    # newer releases ask for httpx2 by a warning, and work with httpx too
    warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
    from fastapi.testclient import TestClient

SOURCE = """\
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from pydantic import BaseModel

from async_hybrid_cache import AsyncHybridCache

cache = AsyncHybridCache.from_url("{broker}")
calls: Counter[str] = Counter()


class User(BaseModel):
    id: int
    name: str


class Users:
    def __init__(self) -> None:
        self.rows = {{1: "Peter", 2: "Lois"}}

    @cache.cached("user:{{user_id}}")
    async def load(self, user_id: int) -> User:
        calls["load"] += 1
        if user_id not in self.rows:
            raise HTTPException(status_code=404, detail="User not found")
        return User(id=user_id, name=self.rows[user_id])


users = Users()


def service() -> Users:
    return users


@cache.cached("tenant:{{x_tenant}}")
async def tenant(x_tenant: Annotated[str, Header()]) -> str:
    calls["tenant"] += 1
    return x_tenant.upper()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await cache.start()
    try:
        yield
    finally:
        await cache.stop()


app = FastAPI(lifespan=lifespan)


@app.get("/search")
@cache.cached
async def search(q: Annotated[str, Query(min_length=2)], limit: int = 10) -> list[User]:
    calls["search"] += 1
    return [User(id=limit, name=q)]


@app.get("/tenant")
async def read_tenant(name: Annotated[str, Depends(tenant)]) -> dict[str, str]:
    return {{"name": name}}


@app.get("/users/{{user_id}}")
async def read_user(user_id: int, users: Annotated[Users, Depends(service)]) -> User:
    return await users.load(user_id)


@app.put("/users/{{user_id}}")
async def write_user(user_id: int, name: str, users: Annotated[Users, Depends(service)]) -> User:
    users.rows[user_id] = name
    await users.load.remove_cached(user_id)
    return await users.load(user_id)
"""


@pytest.fixture(
    params=[("", "memory"), ("", "sqlite"), ("from __future__ import annotations\n\n", "sqlite")],
    ids=["memory", "sqlite", "sqlite-future-annotations"],
)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ModuleType]:
    """The application as a module of its own, with its annotations as objects or as strings."""
    future, scheme = request.param
    broker = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/cache.db"}[scheme]
    path = tmp_path / "users_app.py"
    path.write_text(future + SOURCE.format(broker=broker))
    spec = importlib.util.spec_from_file_location("users_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["users_app"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["users_app"]


def test_an_endpoint(service: ModuleType) -> None:
    with TestClient(service.app) as client:
        for _ in range(2):
            assert client.get("/search", params={"q": "pe"}).json() == [{"id": 10, "name": "pe"}]
        # the same arguments, whether by default or said; other arguments are another key
        assert client.get("/search", params={"q": "pe", "limit": 10}).json() == [{"id": 10, "name": "pe"}]
        assert service.calls["search"] == 1
        assert client.get("/search", params={"q": "pe", "limit": 3}).json() == [{"id": 3, "name": "pe"}]
        assert service.calls["search"] == 2
        # FastAPI sees the parameters of the function and not those of a wrapper
        assert client.get("/search", params={"q": "p"}).status_code == 422
        assert client.get("/search", params={"q": "pe", "limit": "many"}).status_code == 422
        (q, limit) = client.get("/openapi.json").json()["paths"]["/search"]["get"]["parameters"]
    assert (q["name"], q["required"], q["schema"]["minLength"]) == ("q", True, 2)
    assert (limit["name"], limit["required"], limit["schema"]["default"]) == ("limit", False, 10)


def test_a_dependency(service: ModuleType) -> None:
    with TestClient(service.app) as client:
        for _ in range(2):
            assert client.get("/tenant", headers={"X-Tenant": "acme"}).json() == {"name": "ACME"}
        assert service.calls["tenant"] == 1
        assert client.get("/tenant", headers={"X-Tenant": "other"}).json() == {"name": "OTHER"}
        assert client.get("/tenant").status_code == 422


def test_a_method(service: ModuleType) -> None:
    with TestClient(service.app) as client:
        for _ in range(2):
            assert client.get("/users/1").json() == {"id": 1, "name": "Peter"}
        assert service.calls["load"] == 1
        assert client.put("/users/1", params={"name": "Stewie"}).json() == {"id": 1, "name": "Stewie"}
        assert client.get("/users/1").json() == {"id": 1, "name": "Stewie"}
        assert service.calls["load"] == 2
        # an answer is passed on, and not kept
        for _ in range(2):
            assert client.get("/users/3").status_code == 404
        assert service.calls["load"] == 4
        assert client.put("/users/3", params={"name": "Meg"}).json() == {"id": 3, "name": "Meg"}


def test_one_cache_through_two_lifespans(service: ModuleType) -> None:
    # each TestClient has an event loop of its own
    for expected in ("Peter", "Brian"):
        with TestClient(service.app) as client:
            assert client.get("/users/1").json()["name"] == expected
            assert client.put("/users/1", params={"name": "Brian"}).status_code == 200
            assert client.get("/users/1").json()["name"] == "Brian"
            assert service.cache.health().status == "ok"
        assert service.cache.health().status == "stopped"


def test_concurrent_requests_share_one_load(service: ModuleType) -> None:
    async def ask() -> None:
        transport = httpx.ASGITransport(app=service.app)
        # this transport runs no lifespan
        async with (
            service.lifespan(service.app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as client,
        ):
            answers = await asyncio.gather(*(client.get("/users/2") for _ in range(20)))
            assert {answer.text for answer in answers} == {'{"id":2,"name":"Lois"}'}

    asyncio.run(ask())
    assert service.calls["load"] == 1
