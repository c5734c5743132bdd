"""A users service: rows in a database, cached in every process, invalidated everywhere by a write.

    BROKER_URL=sqlite:///cache.db uvicorn examples.service:app --workers 4

`BROKER_URL` (`memory://`) is any broker of the cache, `NAMESPACE` (`users`) this application's part of it. `DATABASE`
(`users.db`) is the SQLite file that stands for the real database, `QUERY_SECONDS` (0) how slow that is. With an
`INSTANCE_ID` the process keeps its place in the log under `STATE_FOLDER` (`.`), and a restart replays from there what
it missed.

Every answer says how far this process had applied the log when it began to handle the request, and which version of
the user it shows; a write also says at which position the log holds it. So a client can judge what it is told.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from time import perf_counter
from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

from async_hybrid_cache import AsyncHybridCache, CacheOptions, FileCheckpointStore, StreamOptions

BROKER_URL = os.environ.get("BROKER_URL", "memory://")
DATABASE = os.environ.get("DATABASE", "users.db")
QUERY_SECONDS = float(os.environ.get("QUERY_SECONDS", "0"))
INSTANCE_ID = os.environ.get("INSTANCE_ID")
STATE_FOLDER = os.environ.get("STATE_FOLDER", ".")
NAMESPACE = os.environ.get("NAMESPACE", "users")

checkpoints = FileCheckpointStore(STATE_FOLDER) if INSTANCE_ID else None
cache = AsyncHybridCache.from_url(
    BROKER_URL,
    options=CacheOptions(ttl_seconds=60, fail_safe_seconds=300),
    stream=StreamOptions(instance_id=INSTANCE_ID, checkpoints=checkpoints),
    namespace=NAMESPACE,
    # a query takes milliseconds: nobody need wait longer for a process that died in one
    lease_seconds=1.0,
)


class UserUpdate(BaseModel):
    name: str


class User(UserUpdate):
    id: str
    version: int


# -- the database --------------------------------------------------------------------------------------------


def query(statement: str, *values: object) -> tuple[Any, ...] | None:
    with closing(sqlite3.connect(DATABASE, timeout=10)) as connection, connection:
        row: tuple[Any, ...] | None = connection.execute(statement, values).fetchone()
        return row


def create_database() -> None:
    query("PRAGMA journal_mode = WAL")
    query("CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, name TEXT, version INTEGER NOT NULL)")


async def save(user_id: str, name: str | None) -> int:
    """The new version. A deleted user is a row without a name, so that versions never begin again."""
    row = await asyncio.to_thread(
        query,
        "INSERT INTO users VALUES (?, ?, 1) ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = version + 1"
        " RETURNING version",
        user_id,
        name,
    )
    assert row is not None
    return int(row[0])


# -- the service ---------------------------------------------------------------------------------------------


@cache.cached("user:{user_id}")
async def load_user(user_id: str) -> User:
    name, version = await asyncio.to_thread(query, "SELECT name, version FROM users WHERE id = ?", user_id) or (None, 0)
    await asyncio.sleep(QUERY_SECONDS)
    if name is None:
        raise HTTPException(404, "no such user", headers=version_header(version))
    return User(id=user_id, name=name, version=version)


def version_header(version: int) -> dict[str, str]:
    return {"X-Version": str(version)}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await asyncio.to_thread(create_database)
    async with cache:
        yield


app = FastAPI(title="users", lifespan=lifespan)


def applied() -> str:
    """How far this process has applied the log."""
    stream = cache.stats().stream
    return stream.position if stream else ""


@app.middleware("http")
async def tell_position(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    position, began = applied(), perf_counter()
    response = await call_next(request)
    response.headers["X-Applied-Position"] = position
    response.headers["Server-Timing"] = f"handling;dur={(perf_counter() - began) * 1e3:.3f}"
    return response


@app.get("/users/{user_id}")
async def read_user(user_id: str, response: Response) -> User:
    user = await load_user(user_id)
    response.headers.update(version_header(user.version))
    return user


@app.put("/users/{user_id}")
async def write_user(user_id: str, update: UserUpdate, response: Response) -> User:
    version = await save(user_id, update.name)
    response.headers.update(await invalidated(user_id, version))
    return User(id=user_id, name=update.name, version=version)


@app.delete("/users/{user_id}", status_code=204)
async def delete_user(user_id: str) -> Response:
    version = await save(user_id, None)
    return Response(status_code=204, headers=await invalidated(user_id, version))


async def invalidated(user_id: str, version: int) -> dict[str, str]:
    """Invalidate the user everywhere; the headers that tell of it."""
    receipt = await load_user.remove_cached(user_id)
    position = {"X-Position": str(receipt.position)} if receipt.position else {}
    return version_header(version) | position


@app.get("/stats")
async def stats() -> dict[str, Any]:
    counted: dict[str, Any] = msgspec.to_builtins(cache.stats())
    return counted


@app.get("/healthz")
async def health() -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.to_builtins(cache.health())
    return answer | {"instance": INSTANCE_ID, "position": applied()}
