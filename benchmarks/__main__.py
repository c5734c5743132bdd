"""`make bench`: every figure of the table in anchors.md that this release can speak to."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from tests.servers.kinds import server_kind

from . import hits, raw, stream
from .joint import joint


def main() -> None:
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {platform.machine()}; ratios are of one run")
    asyncio.run(hits.hits())
    asyncio.run(hits.misses())
    asyncio.run(hits.stampede())
    asyncio.run(hits.memory())
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder)) as urls:
        latencies = {name: asyncio.run(raw.latency(name, urls[name])) for name in raw.PEERS}
        rates = {name: asyncio.run(raw.rate(name, urls[name])) for name in raw.PEERS}
        print("\nremove() called at A -> gone at B (two processes, log and, where the server has one, L2)")
        for name, url in urls.items():
            asyncio.run(stream.latency(name, url, latencies.get(name)))
        print("\nInvalidations published")
        for name, url in urls.items():
            asyncio.run(stream.publishing(name, url, rates.get(name)))
        asyncio.run(joint(urls["redis"]))


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """A URL for each broker; `TEST_..._URL` takes the place of a server of our own."""
    with ExitStack() as started:
        urls = {"sqlite": f"sqlite:///{folder / 'bench.db'}"}
        for name, kind in (("redis", "valkey"), ("nats", "nats"), ("kafka", "kafka")):
            url = os.environ.get(f"TEST_{name.upper()}_URL")
            if url is None:
                server = started.enter_context(closing(server_kind(kind)(folder / kind)))
                server.open()
                url = server.url
            urls[name] = url
        yield urls


if __name__ == "__main__":
    main()
