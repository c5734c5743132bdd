"""A cache as users of the predecessor wrote them, that lets a test in between, fails or freezes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["PlainMemory"]


class PlainMemory:
    """Get, set and delete on a dict that several may share; what is to be done before or after a call is done once.

    `failing` and `frozen` name the calls that do so; `calls` counts them.
    """

    def __init__(self, values: dict[str, object] | None = None) -> None:
        self.values = {} if values is None else values
        self.before: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.after: dict[str, Callable[[], Awaitable[Any]]] = {}
        self.failing: set[str] = set()
        self.frozen: set[str] = set()
        self.calls: list[str] = []

    async def get(self, key: str) -> object | None:
        await self._begin("get")
        return await self._end("get", self.values.get(key))

    async def set(self, key: str, value: object, ttl_seconds: float) -> None:
        assert ttl_seconds >= 1
        await self._begin("set")
        self.values[key] = value
        await self._end("set", None)

    async def delete(self, key: str) -> None:
        await self._begin("delete")
        self.values.pop(key, None)
        await self._end("delete", None)

    @property
    def entries(self) -> dict[str, object]:
        """What is there, without the generations."""
        return {key: value for key, value in self.values.items() if not key.startswith("ahc-generation")}

    async def _begin(self, call: str) -> None:
        self.calls.append(call)
        await asyncio.sleep(0)
        if hook := self.before.pop(call, None):
            await hook()
        if call in self.frozen:
            await asyncio.Event().wait()
        if call in self.failing:
            raise OSError("redis://:hunter2@host refused")

    async def _end(self, call: str, result: object) -> object:
        await asyncio.sleep(0)
        if hook := self.after.pop(call, None):
            await hook()
        return result
