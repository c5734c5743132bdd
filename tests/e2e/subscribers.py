"""Subscriber processes as their parent sees them."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from types import TracebackType

import msgspec

from async_hybrid_cache.bus import StreamOptions
from async_hybrid_cache.cache import AsyncHybridCache
from async_hybrid_cache.ownership import Document, StoreUse
from async_hybrid_cache.positions import ORIGIN, Position
from async_hybrid_cache.registry import find_broker, find_checkpoints
from async_hybrid_cache.stats import SubscriptionStats
from async_hybrid_cache.stream.keeper import decode_checkpoint
from tests.e2e.subscriber import NAME, Settings
from tests.freezing import freeze

__all__ = ["Subscriber", "heard", "kept", "publisher"]

_ROOT = Path(__file__).parents[2]
_ANSWER_SECONDS = 30.0


class Subscriber:
    """One process. An async context manager: ready when it is entered, gone when it is left."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Subscriber:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "tests.e2e.subscriber", msgspec.json.encode(self.settings).decode(),
            cwd=_ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert await self._line() == "ready"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            await self.kill()
        await self.process.communicate()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()

    async def freeze(self) -> None:
        """SIGSTOP, and wait until it stands still; outside of a transaction on SQLite or a change of a position."""
        await freeze(self.process, "POSIX", "FLOCK")

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    async def stats(self) -> SubscriptionStats:
        """What its subscription counts."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"stats\n")
        await self.process.stdin.drain()
        return msgspec.json.decode(await self._line(), type=SubscriptionStats)

    async def owns(self) -> bool:
        """Whether it is the one that delivers."""
        return (await self.stats()).owner

    async def _line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = await self.process.stdout.readline()
        assert line, "the subscriber is gone"
        return line.decode().strip()


def publisher(settings: Settings) -> AsyncHybridCache:
    """A cache that writes to the same log."""
    stream = StreamOptions(instance_id="publisher")
    return AsyncHybridCache(
        invalidation_bus=find_broker(settings.bus).bus(settings.bus, namespace=settings.namespace, stream=stream)
    )


def heard(path: str) -> list[str]:
    """The keys written down, in order; a line that a kill cut short does not count."""
    file = Path(path)
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [line.split(" ", 2)[2].rstrip("\n") for line in lines if line.endswith("\n")]


async def kept(settings: Settings) -> Position:
    """The position that is kept for the subscription."""
    store = find_checkpoints(settings.checkpoints, namespace=settings.namespace)
    name = f"subscription/{NAME}" + (f"/{settings.instance_id}/0" if settings.per == "instance" else "")
    use = StoreUse(store, 5.0)
    try:
        body = await Document(use, name, "").load()
    finally:
        await use.close()
    checkpoint = decode_checkpoint(body) if body else None
    return Position(checkpoint.epoch, checkpoint.offset) if checkpoint else ORIGIN
