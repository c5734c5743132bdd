"""A position that travels with requests: FastAPI, two instances, one of which hears nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from httpx import ASGITransport, AsyncClient

from async_hybrid_cache import AsyncHybridCache, InvalidationBus, Position
from async_hybrid_cache.asgi import CachePositionMiddleware, requested_position
from async_hybrid_cache.testing.fleet import CuttableLog
from async_hybrid_cache_brokers.memory import MemoryLog

NAMES = {"1": "Peter"}
At = Annotated[Position | None, Depends(requested_position)]


def service(cache: AsyncHybridCache) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CachePositionMiddleware, cookie="position")

    @cache.cached("user:{user_id}", scope="users")
    async def load_user(user_id: str) -> str:
        return NAMES[user_id]

    @app.get("/users/{user_id}")
    async def get_user(user_id: str, at: At) -> str:
        return await load_user.at_least(at)(user_id)

    @app.put("/users/{user_id}")
    async def rename(user_id: str, name: str) -> None:
        NAMES[user_id] = name
        await load_user.remove_cached(user_id)

    return app


@asynccontextmanager
async def two() -> AsyncIterator[tuple[AsyncClient, AsyncClient, CuttableLog]]:
    """Clients of two instances, and the log of the second."""
    name = f"position-{id(object())}"
    far_log = CuttableLog(MemoryLog(name))
    near = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: MemoryLog(name)))
    far = AsyncHybridCache(invalidation_bus=InvalidationBus(lambda: far_log))
    NAMES["1"] = "Peter"
    async with (
        near,
        far,
        AsyncClient(transport=ASGITransport(service(near)), base_url="http://near") as at_near,
        AsyncClient(transport=ASGITransport(service(far)), base_url="http://far") as at_far,
    ):
        yield at_near, at_far, far_log
    MemoryLog.delete(name)


@pytest.mark.parametrize("carrier", ["header", "cookie"])
def test_a_client_reads_what_it_wrote_elsewhere(carrier: str) -> None:
    async def scenario() -> None:
        async with two() as (near, far, far_log):
            assert (await far.get("/users/1")).json() == "Peter"
            far_log.cut()
            told = await near.put("/users/1", params={"name": "Lois"})
            token = told.headers["x-cache-position"]
            assert token == str(Position.parse(token)) == told.cookies["position"]
            assert (await far.get("/users/1")).json() == "Peter"
            headers = {"x-cache-position": token} if carrier == "header" else {"cookie": f"other=1; position={token}"}
            answer = await far.get("/users/1", headers=headers)
            assert answer.json() == "Lois"
            assert answer.headers["x-cache-position"] == token

    asyncio.run(scenario())


def test_a_request_that_changes_nothing_and_brings_nothing_is_told_nothing() -> None:
    async def scenario() -> None:
        async with two() as (near, _, _):
            answer = await near.get("/users/1")
            assert "x-cache-position" not in answer.headers
            assert "set-cookie" not in answer.headers

    asyncio.run(scenario())


@pytest.mark.parametrize("token", ["", "x", "1-", "-1", "1-2-3", "9" * 65, "1-\xb2", "9" * 31 + "-" + "9" * 31 + "x"])
def test_a_token_that_is_none_is_ignored(token: str) -> None:
    async def scenario() -> None:
        async with two() as (near, _, _):
            for headers in (
                {"x-cache-position": token.encode("latin-1")},
                {"cookie": f"position={token}".encode("latin-1")},
            ):
                answer = await near.get("/users/1", headers=headers)
                assert answer.json() == "Peter"
                assert "x-cache-position" not in answer.headers

    asyncio.run(scenario())


def test_outside_of_a_request_nothing_is_asked_for() -> None:
    assert asyncio.run(requested_position()) is None


def test_what_is_not_http_passes() -> None:
    async def scenario() -> None:
        seen = []

        async def app(scope: object, receive: object, send: object) -> None:
            seen.append(scope)

        await CachePositionMiddleware(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
        assert seen == [{"type": "lifespan"}]

    asyncio.run(scenario())
