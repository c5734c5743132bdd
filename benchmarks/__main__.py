"""`make bench`: every figure of the table in anchors.md that this release can speak to."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

from . import hits, raw, stream


def main() -> None:
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {platform.machine()}; ratios are of one run")
    asyncio.run(hits.hits())
    asyncio.run(hits.misses())
    asyncio.run(hits.stampede())
    asyncio.run(hits.memory())
    with tempfile.TemporaryDirectory() as folder:
        urls = {"sqlite": f"sqlite:///{Path(folder, 'bench.db')}", "redis": os.environ.get("TEST_REDIS_URL")}
        server = None
        if urls["redis"] is None:
            from tests.servers.valkey import ValkeyServer

            server = ValkeyServer(Path(folder, "valkey"))
            server.open()
            urls["redis"] = server.url
        try:
            bound = asyncio.run(raw.xadd_to_xread(str(urls["redis"])))
            rate = asyncio.run(raw.xadds(str(urls["redis"])))
            print("\nremove() called at A -> gone at B (two processes, log and L2)")
            for name, url in urls.items():
                asyncio.run(stream.latency(name, str(url), bound if name == "redis" else None))
            print("\nInvalidations published")
            for name, url in urls.items():
                asyncio.run(stream.publishing(name, str(url), rate if name == "redis" else None))
        finally:
            if server is not None:
                server.close()


if __name__ == "__main__":
    main()
