"""What the tests of the SQLite log share."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from async_hybrid_cache_brokers.sqlite import SqliteLog


def opened(path: Path, test: Callable[[SqliteLog], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        log = SqliteLog(path, **options)
        await log.open()
        try:
            return await test(log)
        finally:
            await log.close()

    return asyncio.run(main())


def delete(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        if file.is_file():
            file.unlink()


def execute(path: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()
