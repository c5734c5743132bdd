"""From a URL to a checkpoint store."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from async_hybrid_cache import ConfigurationError, FileCheckpointStore
from async_hybrid_cache.registry import GROUP, find_broker, find_checkpoints
from async_hybrid_cache_brokers.postgres import BROKER as POSTGRES
from async_hybrid_cache_brokers.postgres import PostgresCheckpointStore
from async_hybrid_cache_brokers.redis import RedisCheckpointStore
from async_hybrid_cache_brokers.sqlite import SqliteCheckpointStore


def test_a_folder_and_one_of_its_own_for_another_namespace(tmp_path: Path) -> None:
    async def kept(url: str, namespace: str) -> bool:
        store = find_checkpoints(url, namespace=namespace)
        assert isinstance(store, FileCheckpointStore)
        await store.open()
        return await store.load("n") is not None

    async def scenario() -> None:
        url = f"file://{tmp_path}/a%20folder"
        store = find_checkpoints(url)
        await store.open()
        await store.save("n", b"data", 0)
        assert (tmp_path / "a folder").is_dir()
        assert await kept(url, "ahc")
        assert not await kept(url, "shop")

    asyncio.run(scenario())


def test_each_kind_of_store() -> None:
    assert isinstance(find_checkpoints("sqlite:///state.db"), SqliteCheckpointStore)
    assert repr(find_checkpoints("sqlite:///state.db", namespace="shop")).endswith("state-shop.db')")
    found = find_checkpoints("redis://:hush@localhost/0", namespace="shop")
    assert isinstance(found, RedisCheckpointStore)
    assert repr(found) == "RedisCheckpointStore('shop:%checkpoint')"
    store = POSTGRES.checkpoints("postgresql://user:hush@localhost/app", namespace="shop")
    assert isinstance(store, PostgresCheckpointStore)
    assert repr(store) == "PostgresCheckpointStore(table='shop_checkpoints')"


@pytest.mark.parametrize(
    ("url", "namespace", "told"),
    [
        ("memory://", "ahc", "keeps no checkpoints"),
        ("kafka://localhost:9092/topic", "ahc", "keeps no checkpoints"),
        ("nothing://", "ahc", "no broker"),
        ("file://host/folder", "ahc", "names a folder"),
        ("file://", "ahc", "names a folder"),
        ("file:///folder?x=1", "ahc", "names a folder"),
        ("file:///folder", "../up", "name of a folder"),
        ("sqlite:///a.db?x=1", "ahc", "no parameter 'x'"),
    ],
)
def test_what_keeps_none_says_so(url: str, namespace: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        find_checkpoints(url, namespace=namespace)


def test_postgresql_is_no_bus() -> None:
    with pytest.raises(ConfigurationError, match="no bus"):
        POSTGRES.bus("postgresql://localhost", namespace="ahc", stream=None)
    assert POSTGRES.distributed_cache("postgresql://localhost", namespace="ahc") is None
    for url in ("redis://localhost", 3):
        with pytest.raises(ConfigurationError, match="PostgreSQL URL"):
            PostgresCheckpointStore(url)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="table"):
        PostgresCheckpointStore("postgresql://localhost", table="a; drop table b")


def test_a_server_that_is_away_is_an_error_without_credentials(tmp_path: Path) -> None:
    from async_hybrid_cache import CheckpointError
    from tests.servers.ports import free_port

    async def scenario() -> None:
        port = free_port()
        for store in (
            find_checkpoints(f"redis://user:hush@127.0.0.1:{port}/0"),
            POSTGRES.checkpoints(f"postgresql://user:hush@127.0.0.1:{port}/app", namespace="ahc"),
            find_checkpoints(f"sqlite:///{tmp_path}/none/state.db"),
        ):
            with pytest.raises(CheckpointError) as failure:
                await opened_and_loaded(store)
            assert "hush" not in f"{failure.value}{store!r}"
            await store.close()

    async def opened_and_loaded(store: object) -> None:
        await store.open()  # type: ignore[attr-defined]
        await store.load("n")  # type: ignore[attr-defined]

    asyncio.run(scenario())


def test_a_broker_of_a_third_party_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("shelf", "no_such_package.redis:BROKER", GROUP)
    monkeypatch.setattr("async_hybrid_cache.registry.entry_points", lambda **_: [point])
    with pytest.raises(ConfigurationError, match="No module named 'no_such_package'") as caught:
        find_broker("shelf://u:geheim@h")
    assert "pip install" not in str(caught.value)
    assert "geheim" not in str(caught.value)
