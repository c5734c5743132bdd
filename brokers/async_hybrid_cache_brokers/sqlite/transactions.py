"""Many calls, one thread hop and one transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from .connection import Connection, transaction
from .failures import UNUSABLE, FileLost

__all__ = ["Transactions"]

T = TypeVar("T")


class _Call(NamedTuple):
    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]

    def settle(self, outcome: Any) -> None:
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class Transactions:
    """Runs together what came in one loop tick, and what came while the last transaction ran.

    Where the file was deleted or replaced, it is opened again first. A call whose parameters cannot be bound
    fails alone; whatever fails the transaction fails every call in it.
    """

    def __init__(self, connection: Connection, kind: Literal["DEFERRED", "IMMEDIATE"]) -> None:
        self._connection = connection
        self._kind: Literal["DEFERRED", "IMMEDIATE"] = kind
        self._waiting: list[_Call] = []
        self._begun: list[_Call] = []
        self._running: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, from inside a transaction; it may be run twice, but is committed once."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(work, done))
        if self._running is None or self._running.done():
            # a task begins in the next tick, when all callers of this one are waiting
            self._running = asyncio.create_task(self._drain())
        return await done

    def close(self) -> None:
        """Fail what has not returned yet."""
        if self._running is not None:
            self._running.cancel()
        for call in self._begun + self._waiting:
            call.settle(sqlite3.ProgrammingError("the connection was closed"))
        self._begun, self._waiting = [], []

    async def _drain(self) -> None:
        while self._waiting:
            self._begun, self._waiting = [call for call in self._waiting if not call.done.done()], []
            try:
                outcomes = await self._together([call.work for call in self._begun])
            except Exception as error:
                outcomes = [error] * len(self._begun)
            for call, outcome in zip(self._begun, outcomes, strict=True):
                call.settle(outcome)

    async def _together(self, works: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        def together(db: sqlite3.Connection) -> list[Any]:
            with transaction(db, self._kind):
                return [_outcome(work, db) for work in works]

        try:
            return await self._connection.run(together)
        except FileLost:
            await self._connection.open()
            return await self._connection.run(together)


def _outcome(work: Callable[[sqlite3.Connection], Any], db: sqlite3.Connection) -> Any:
    try:
        return work(db)
    except UNUSABLE as error:
        return error
