"""The gets of one turn of the loop, in one script call."""

from __future__ import annotations

import asyncio
import secrets
from typing import NamedTuple

from redis.exceptions import RedisError

from async_hybrid_cache.distributed import Hit, Miss
from async_hybrid_cache.errors import DistributedCacheError
from async_hybrid_cache.positions import Position

from .client import LinkPool, Script
from .layout import hit, millis, scope_field, stamp_digits

__all__ = ["Batch", "Group", "failure"]

_GET = Script("generation", "get")


class Group(NamedTuple):
    """What gets have in common."""

    scope: str
    oldest: Position
    lease_seconds: float


class Batch:
    """Collects until the loop's next turn, then goes out; cancelled when nobody waits for it any more."""

    LIMIT = 500

    def __init__(self, pool: LinkPool, clears: bytes) -> None:
        self._pool = pool
        self._clears = clears
        self._groups: dict[Group, list[tuple[bytes, asyncio.Future[Hit | Miss]]]] = {}
        self._size = 0
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._start)

    @property
    def open(self) -> bool:
        """Whether one more get may join."""
        return self._task is None and self._size < self.LIMIT

    async def join(self, group: Group, key: bytes) -> Hit | Miss:
        """The answer for `key`."""
        answer: asyncio.Future[Hit | Miss] = self._loop.create_future()
        self._groups.setdefault(group, []).append((key, answer))
        self._size += 1
        self._waiting += 1
        try:
            return await answer
        finally:
            self._waiting -= 1
            if self._task is not None and not self._waiting:
                self._task.cancel()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        token = secrets.token_hex(16)
        keys: list[bytes] = [self._clears]
        args: list[bytes | str | int] = [token]
        answers: list[asyncio.Future[Hit | Miss]] = []
        for group, members in self._groups.items():
            live = [(key, answer) for key, answer in members if not answer.done()]
            keys += [key for key, _ in live]
            answers += [answer for _, answer in live]
            scope, oldest, lease = group
            args += (scope_field(scope), stamp_digits(oldest), millis(lease) if lease > 0 else 0, len(live))
        if not answers:
            return
        try:
            async with self._pool.link() as link:
                now, *values = await link.run(_GET, keys, args)
        except (RedisError, OSError) as error:
            for answer in answers:
                if not answer.done():
                    answer.set_exception(failure(error))
            return
        for number, (answer, value) in enumerate(zip(answers, values, strict=True), 1):
            if answer.done():
                continue
            if isinstance(value, bytes):
                answer.set_result(hit(value, now))
            elif value > 0:
                answer.set_result(Miss(f"{token}{number}"))
            else:
                answer.set_result(Miss(None, -value / 1000))


def failure(error: Exception) -> DistributedCacheError:
    """Our error for one of the driver's."""
    ours = DistributedCacheError(f"Redis: {str(error) or 'no answer in time'}")
    ours.__cause__ = error
    return ours
