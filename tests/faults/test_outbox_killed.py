"""Processes are killed at any moment, with the server away or there: what was removed is told by the next start."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from async_hybrid_cache import CacheOptions
from async_hybrid_cache.testing.promises import promise
from async_hybrid_cache_codecs.events import KeysRemoved
from tests.faults.outbox_writer import new_cache
from tests.faults.places import Mortal, Place, read_frames

KILLS = 20
TOGETHER = 5
_ROOT = Path(__file__).parents[2]


class Writers:
    """Processes on one folder, and the keys whose removal returned in any of them."""

    def __init__(self, place: Place, folder: Path, rng: random.Random, *, l2: bool) -> None:
        self.returned: list[str] = []
        self._arguments = place.url, place.namespace, str(folder)
        self._rng = rng
        self._l2 = "l2" if l2 else ""

    async def _start(self, name: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "tests.faults.outbox_writer", *self._arguments, name, self._l2,
            cwd=_ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def live_and_die(self, name: str) -> None:
        """Removals until SIGKILL: in the middle of them, or while it starts and takes over what others left."""
        process = await self._start(name)
        assert process.stdout is not None
        lines = b""
        if self._rng.random() < 0.8:
            lines = await process.stdout.readline()
            await asyncio.sleep(self._rng.random() * 0.1)
        else:
            await asyncio.sleep(self._rng.random() * 1.5)
        process.kill()
        lines += (await process.communicate())[0]
        self.returned += lines.decode().splitlines()

    async def finish(self) -> None:
        """The next start, that removes nothing itself."""
        process = await self._start("")
        assert await process.wait() == 0
        await process.communicate()


async def told(place: Place) -> Counter[str]:
    """How often each key is told, with what readers skip as told before left out."""
    events = {
        (frame.origin, sequence): event
        for _, frame in await read_frames(place)
        for sequence, event in enumerate(frame.events, frame.first)
    }
    return Counter(key for event in events.values() if isinstance(event, KeysRemoved) for key in event.keys)


@promise(6, fault="log away, process killed")
def test_what_returned_before_a_kill_is_told_exactly_once(mortal: Mortal, tmp_path: Path) -> None:
    place = mortal.place
    folder = tmp_path / "outbox"

    async def main() -> None:
        writers = Writers(place, folder, random.Random(5), l2=False)
        rounds = [range(first, first + TOGETHER) for first in range(0, KILLS, TOGETHER)]
        reachable = rounds[::2]
        for lives in reachable:
            await asyncio.gather(*(writers.live_and_die(str(number)) for number in lives))
        while_reachable = len(writers.returned)
        async with mortal.away():
            for lives in rounds[1::2]:
                await asyncio.gather(*(writers.live_and_die(str(number)) for number in lives))
        assert while_reachable > 100
        assert len(writers.returned) - while_reachable > 100
        await writers.finish()
        counted = await told(place)
        assert {key: counted[key] for key in writers.returned if counted[key] != 1} == {}
        assert max(counted.values()) == 1
        assert list(folder.iterdir()) == []

    asyncio.run(main())


@promise(6, fault="L2 away, process killed")
@pytest.mark.parametrize("mortal", ["sqlite", "redis", "nats"], indirect=True)
def test_what_was_not_deleted_in_l2_before_a_kill_is_deleted_and_told_by_the_next_start(
    mortal: Mortal, tmp_path: Path
) -> None:
    place = mortal.place
    folder = tmp_path / "outbox"

    async def main() -> None:
        writers = Writers(place, folder, random.Random(6), l2=True)
        async with new_cache(place.url, place.namespace, str(tmp_path / "filling"), l2=True) as filling:
            keys = [f"life-{writer}-{number}" for writer in range(4) for number in range(200)]
            for key in keys:
                await filling.set(key, "old")
            await filling.set("untouched", "old", options=CacheOptions(ttl_seconds=600))
        async with mortal.away():
            await asyncio.gather(*(writers.live_and_die("life") for _ in range(3)))
        stale = set(writers.returned) & set(keys)
        assert stale
        await writers.finish()
        assert set(writers.returned) <= set(await told(place))
        async with new_cache(place.url, place.namespace, str(tmp_path / "reading"), l2=True) as reading:
            assert {key: await reading.get(key) for key in stale} == dict.fromkeys(stale)
            assert await reading.get("untouched") == "old"
        assert list(folder.iterdir()) == []

    asyncio.run(main())
