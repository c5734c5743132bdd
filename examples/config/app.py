"""A directory of people, cached; which servers it uses is said by the configuration, and nowhere else.

Run it in two terminals, with one and the same file in both:

    python examples/config/app.py examples/config/sqlite.toml people.json

and type `show ada`, or `rename ada Lovelace`, and `stats`. The JSON file stands for the database.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from async_hybrid_cache import AsyncHybridCache

cache = AsyncHybridCache.from_config(sys.argv[1])
database = Path(sys.argv[2])
loads = 0


def people() -> dict[str, str]:
    found: dict[str, str] = json.loads(database.read_text())
    return found


def rename(who: str, name: str) -> None:
    database.write_text(json.dumps(people() | {who: name}))


@cache.cached("person:{who}", scope="people")
async def load_name(who: str) -> str:
    global loads
    loads += 1
    return people().get(who, "nobody")


async def answer(command: str, *words: str) -> str:
    match command, words:
        case "show", [who]:
            return await load_name(who)
        case "rename", [who, name]:
            rename(who, name)
            receipt = await load_name.remove_cached(who)
            return "queued" if receipt.queued else f"renamed at {receipt.position}"
        case "stats", []:
            stream = cache.stats().stream
            return f"{cache.health().status} loads={loads} gaps={stream.gap_total if stream else 0}"
        case _:
            return "show <who> | rename <who> <name> | stats"


async def main() -> None:
    async with cache:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await answer(*line.split() or [""]), flush=True)


asyncio.run(main())
