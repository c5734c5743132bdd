"""What every `CheckpointStore` does; each store inherits this and adds a `world` fixture."""

from __future__ import annotations

import asyncio

import pytest

from async_hybrid_cache.checkpoint import CheckpointStore
from async_hybrid_cache.errors import CheckpointConflict
from async_hybrid_cache.testing.worlds import CheckpointWorld, scenario

__all__ = ["CheckpointStoreContract"]

_NAMES = [
    "n", "a/b", "..", ".hidden", "a b", "a:b", "a.b.*.>", "%41", "Größe-🗝", "a\nb", "n" * 300, "名" * 100,
    "~", "A", "a",
]  # fmt: skip


class CheckpointStoreContract:
    """The contract of `CheckpointStore`."""

    @scenario
    async def test_there_is_nothing_under_a_new_name(self, world: CheckpointWorld) -> None:
        store = await world.opened()
        assert await store.load("new") is None

    @scenario
    async def test_what_was_saved_last_is_found_by_everybody(self, world: CheckpointWorld) -> None:
        store, other = await world.opened(), await world.opened()
        version = await store.save("n", b"one", 0)
        assert version > 0
        assert await other.load("n") == (b"one", version)
        second = await other.save("n", b"two", version)
        assert second != version
        assert await store.load("n") == await other.load("n") == (b"two", second)

    @scenario
    async def test_a_version_that_is_not_the_stores_conflicts_and_writes_nothing(self, world: CheckpointWorld) -> None:
        store, other = await world.opened(), await world.opened()
        first = await store.save("n", b"one", 0)
        second = await store.save("n", b"two", first)
        for version in (0, first, second + 1):
            with pytest.raises(CheckpointConflict):
                await other.save("n", b"theirs", version)
        with pytest.raises(CheckpointConflict):
            await store.save("not there", b"theirs", first)
        assert await store.load("n") == (b"two", second)
        assert await store.load("not there") is None
        assert await store.save("n", b"three", second) > 0

    @scenario
    async def test_of_many_that_save_at_once_one_wins(self, world: CheckpointWorld) -> None:
        stores = [await world.opened() for _ in range(3)]
        version = 0
        for turn in range(8):

            async def attempt(number: int, store: CheckpointStore, version: int = version) -> tuple[bytes, int] | None:
                data = b"%d" % number
                try:
                    return data, await store.save("n", data, version)
                except CheckpointConflict:
                    return None

            won = [one for one in await asyncio.gather(*map(attempt, range(6), stores * 2)) if one is not None]
            assert len(won) == 1, f"in turn {turn}"
            assert await stores[0].load("n") == won[0]
            version = won[0][1]

    @scenario
    async def test_counting_by_many_loses_no_step(self, world: CheckpointWorld) -> None:
        stores = [await world.opened() for _ in range(3)]

        async def count(store: CheckpointStore) -> None:
            for _ in range(10):
                while True:
                    kept = await store.load("count")
                    number, version = (int(kept.data), kept.version) if kept else (0, 0)
                    try:
                        await store.save("count", b"%d" % (number + 1), version)
                        break
                    except CheckpointConflict:
                        continue

        await asyncio.gather(*map(count, stores))
        kept = await stores[0].load("count")
        assert kept is not None
        assert kept.data == b"30"

    @scenario
    async def test_names_are_any_text_and_keep_apart(self, world: CheckpointWorld) -> None:
        store = await world.opened()
        for number, name in enumerate(_NAMES):
            await store.save(name, b"%d" % number, 0)
        for number, name in enumerate(_NAMES):
            kept = await store.load(name)
            assert kept is not None, name
            assert kept.data == b"%d" % number, name

    @pytest.mark.parametrize("data", [b"", b"\0\xff\r\n", bytes(range(256)) * 400], ids=["none", "bytes", "100kB"])
    @scenario
    async def test_documents_are_opaque_bytes(self, world: CheckpointWorld, data: bytes) -> None:
        store = await world.opened()
        version = await store.save("n", data, 0)
        assert await store.load("n") == (data, version)

    @scenario
    async def test_it_survives_being_closed_and_is_opened_again(self, world: CheckpointWorld) -> None:
        store = await world.opened()
        version = await store.save("n", b"one", 0)
        await store.close()
        await store.close()
        await store.open()
        assert await store.load("n") == (b"one", version)
        await store.open()
        assert await store.save("n", b"two", version) > 0

    @scenario
    async def test_a_cancelled_call_leaves_a_usable_store(self, world: CheckpointWorld) -> None:
        store = await world.opened()
        version = await store.save("n", b"0", 0)
        for turns in range(12):
            saving = asyncio.ensure_future(store.save("n", b"%d" % (turns + 1), version))
            for _ in range(turns):
                await asyncio.sleep(0)
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)
            kept = await store.load("n")
            assert kept is not None
            # a call that nobody waits for may still come to its end
            assert int(kept.data) <= turns + 1
            version = kept.version
        while True:
            kept = await store.load("n")
            assert kept is not None
            try:
                version = await store.save("n", b"last", kept.version)
                break
            except CheckpointConflict:
                continue
        assert await store.load("n") == (b"last", version)

    @scenario
    async def test_documents_keep_apart_under_concurrency(self, world: CheckpointWorld) -> None:
        store = await world.opened()

        async def write(name: str) -> None:
            version = 0
            for number in range(10):
                version = await store.save(name, f"{name} {number}".encode(), version)
            assert await store.load(name) == (f"{name} 9".encode(), version)

        await asyncio.gather(*(write(f"name {number}") for number in range(10)))

    def test_it_may_be_used_in_one_loop_after_another(self, world: CheckpointWorld) -> None:
        store = world.make()

        async def use(version: int) -> int:
            await store.open()
            try:
                return await store.save("n", b"data", version)
            finally:
                await store.close()

        asyncio.run(use(asyncio.run(use(0))))
