"""A process with one `Member`, driven by lines on its standard input: `[command, [arguments]]`, in JSON.

Answers each with `[result, null]` or `[null, error]`, and ends with its input.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from typing import Any

import msgspec

from .database import Database
from .member import Member, new_cache


async def serve(member: Any) -> None:
    """Answer with the methods of `member` until the input ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command, arguments = msgspec.json.decode(line)
        if command == "hammer":
            await hammer(member, *arguments)
        answer: tuple[Any, str | None]
        try:
            answer = await getattr(member, command)(*arguments), None
        except Exception as error:
            answer = None, repr(error)
        say(answer)


async def hammer(member: Member, prefix: str) -> None:
    """Write key after key, and say each that was acknowledged, until killed."""
    for number in itertools.count():
        key = f"{prefix}-{number}"
        change = await member.write(key)
        say((None if change.queued else key, None))


def say(answer: tuple[Any, str | None]) -> None:
    """One line to the parent."""
    print(msgspec.json.encode(answer).decode(), flush=True)


async def main(folder: str, bound: str, *place: str) -> None:
    cache = new_cache(*place, bound=float(bound) if bound else None)
    async with cache:
        say(("ready", None))
        await serve(Member(cache, Database(Path(folder))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
