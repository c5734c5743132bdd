"""A process that relays an outbox; run as `python -m tests.e2e.relayer POSTGRES_URL TABLE SQLITE_FILE`.

Says "ready" when it relays. Its frames are small, so that a kill finds some sent and some not.
"""

from __future__ import annotations

import asyncio
import sys

from async_hybrid_cache import (
    InvalidationPublisher,
    OutboxRelay,
    PostgresOutbox,
    SqliteDistributedCache,
    SqliteInvalidationBus,
    StreamOptions,
)
from async_hybrid_cache.testing.waiting import eventually


async def main(url: str, table: str, file: str) -> None:
    """Run until the process is killed."""
    publisher = InvalidationPublisher(
        invalidation_bus=SqliteInvalidationBus(file, stream=StreamOptions(frame_max_events=2)),
        new_distributed_cache=lambda: SqliteDistributedCache(file),
        name="relay",
    )
    async with OutboxRelay(PostgresOutbox(url, table=table), publisher) as relay:
        await eventually(lambda: relay.relaying)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
