"""Publishing without a line of ours: the functions of docs/wire-format.md, as they stand there, on every broker."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.testing.waiting import eventually
from tests.docs.examples import ROOT, Chain, chains, run
from tests.servers.server import Server

PAGE = ROOT / "docs" / "wire-format.md"

# a second frame, a repeat of the first, and a log that does not exist
PUBLISH = """
import inspect, sys

for name in ("async_hybrid_cache", "async_hybrid_cache_brokers", "async_hybrid_cache_codecs"):
    assert name not in sys.modules, f"the page imports {{name}}"

def sealed(first, keys):
    event = {{"t": "keys_removed", "scope": "users", "keys": keys}}
    frame = {{"v": 1, "e": 0, "o": "cron.{origin}", "f": first, "at": 1_700_000_000_000_000_000, "events": [event]}}
    return msgspec.msgpack.encode(frame), f"cron.{origin}:{{first}}:{{first}}"

for record, id in (sealed(1, ["a"]), sealed(2, ["b", "é:%"]), sealed(1, ["a"])):
    there = {call}
    assert (await there if inspect.isawaitable(there) else there) is True
record, id = sealed(3, ["a"])
missing = {missing}
assert (await missing if inspect.isawaitable(missing) else missing) is False
"""


class Place(NamedTuple):
    """A log for instances, and how the page appends to it, and to one that does not exist."""

    url: str
    call: str
    missing: str


def place(broker: str, server: Server | None, folder: Path, namespace: str) -> Place:
    if broker == "sqlite":
        file = folder / f"cache-{namespace}.db"
        arguments = "append_to_sqlite({!r}, record, id)"
        return Place(f"sqlite:///{folder}/cache.db", arguments.format(str(file)), arguments.format(f"{file}x"))
    assert server is not None
    address = server.url.partition("://")[2].partition("/")[0] if broker == "kafka" else server.url
    option, between = {"redis": ("stream", ":"), "nats": ("stream", "-"), "kafka": ("topic", ".")}[broker]

    def call(name: str) -> str:
        return f"append_to_{broker}({address!r}, record, id, {option}={f'{name}{between}invalidation'!r})"

    return Place(server.url, call(namespace), call(f"{namespace}x"))


def the_chain() -> Chain:
    (chain,) = (chain for chain in chains(PAGE) if len(chain.blocks) > 1)
    return chain


@pytest.mark.parametrize("broker", ["sqlite", "redis", "nats", "kafka"])
def test_instances_apply_what_a_foreign_program_wrote(
    broker: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    fixture = {"sqlite": None, "redis": "valkey", "nats": "nats", "kafka": "kafka"}[broker]
    server: Server | None = request.getfixturevalue(fixture) if fixture else None
    namespace = f"n{uuid.uuid4().hex}"
    where = place(broker, server, tmp_path, namespace)
    script = PUBLISH.format(call=where.call, missing=where.missing, origin=uuid.uuid4().hex[:16])

    async def scenario() -> None:
        value = "old"

        async def load() -> str:
            return value

        async with AsyncHybridCache.from_url(where.url, namespace=namespace) as cache:
            keys = ("a", "b", "é:%", "kept")
            assert [await cache.get_or_set(key, load, scope="users") for key in keys] == ["old"] * 4
            value = "new"
            # redis and the rest of the page run in a process of their own
            await asyncio.to_thread(run, the_chain(), tmp_path, then=script)
            await eventually(lambda: cache.stats().stream.duplicates == 1 or broker in ("sqlite", "nats"))  # type: ignore[union-attr]

            async def fresh() -> bool:
                return [await cache.get_or_set(key, load, scope="users") for key in keys[:3]] == ["new"] * 3

            await eventually(fresh)
            assert await cache.get_or_set("kept", load, scope="users") == "old"
            stats = cache.stats().stream
            assert stats is not None
            assert (stats.gap_total, stats.undecodable_records, stats.unknown_events) == (0, 0, 0)

    asyncio.run(scenario())
