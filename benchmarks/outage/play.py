"""The story of an outage: load, the broker gone, load all the same, the broker back."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

from async_hybrid_cache.testing.waiting import eventually
from tests.faults.database import Database
from tests.faults.fleet import fresh_everywhere, gaps, stream_of
from tests.faults.process import Process

from .breakable import Breakable
from .outcome import Outcome

__all__ = ["play"]

WRITERS = READERS = 3
_NAMESPACE = "ahc"
_KEYS = 20
_WRITE_EVERY_SECONDS = 0.03
_BEFORE_SECONDS = 1.0
_AFTER_SECONDS = 2.0
_WITHIN_SECONDS = 15.0


async def play(broker: Breakable, seconds: float, folder: Path) -> Outcome:
    """Take `broker` away for `seconds` and give it back, under load all the while."""
    database = Database(folder / "database")
    async with AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(Process(database, broker.url, _NAMESPACE, log=folder / "processes.log"))
            for _ in range(WRITERS + READERS)
        ]
        writers, readers = processes[:WRITERS], processes[WRITERS:]
        keys = [[f"key-{writer}-{number}" for number in range(_KEYS)] for writer in range(WRITERS)]
        everything = [key for own in keys for key in own]
        for key in everything:
            database.write(key)
        for reader in readers:
            await reader.listen()
            await reader.browse(everything)
        for number, writer in enumerate(writers):
            await writer.write_on(str(number), keys[number], _WRITE_EVERY_SECONDS)
        await asyncio.sleep(_BEFORE_SECONDS)
        await asyncio.to_thread(broker.kill)
        broken = monotonic()
        await asyncio.sleep(seconds)
        started = monotonic()
        await asyncio.to_thread(broker.start)
        back = monotonic()
        await asyncio.sleep(_AFTER_SECONDS)
        written = await asyncio.gather(*(writer.written() for writer in writers))
        last = monotonic()
        total = sum(map(len, written))

        async def all_applied() -> bool:
            told = [await reader.heard() for reader in readers]
            return all(len({(each.name, each.number) for each in heard}) == total for heard in told)

        with contextlib.suppress(AssertionError):  # what is missing then is for the judge
            await eventually(all_applied, timeout=_WITHIN_SECONDS, poll_seconds=0.2)
        fresh = await fresh_everywhere(database, processes, everything, last, within=_WITHIN_SECONDS)
        return Outcome(
            broken=broken,
            started=started,
            back=back,
            written=written,
            heard=[await reader.heard() for reader in readers],
            browsed=[await reader.rest() for reader in readers],
            gaps=await gaps(processes),
            coarsened=sum([stream_of(await each.stats()).outbox_coarsened for each in writers]),
            fresh=fresh,
        )
