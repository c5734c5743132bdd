"""A process with an L2 and no log. For each line on its standard input, `[key, callers, seconds]`, it reads that key
with so many callers at once, by a loader that takes so long, and says `[values, seconds]`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path
from time import monotonic

from async_hybrid_cache import AsyncHybridCache
from async_hybrid_cache.registry import find_broker


async def load(loads: Path, key: str, seconds: float) -> str:
    """The value of `key`, after `seconds`; that it was loaded here is noted before."""
    with loads.open("a") as file:
        file.write(f"{key} {os.getpid()}\n")
    await asyncio.sleep(seconds)
    return f"value of {key}"


async def main(loads: str, url: str, namespace: str, lease_seconds: str) -> None:
    cache = AsyncHybridCache(
        distributed_cache=find_broker(url).distributed_cache(url, namespace=namespace),
        lease_seconds=float(lease_seconds),
        distributed_timeout_seconds=10,
    )
    async with cache:
        print("[]", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            key, callers, seconds = json.loads(line)
            began = monotonic()
            reads = [cache.get_or_set(key, partial(load, Path(loads), key, seconds)) for _ in range(callers)]
            values = sorted(set(await asyncio.gather(*reads)))
            print(json.dumps([values, monotonic() - began]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
