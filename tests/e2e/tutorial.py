"""The user's tutorial, `tutorial.txt`, as programs: its code unchanged, its prose left out."""

from __future__ import annotations

from pathlib import Path

__all__ = ["TUTORIAL", "blocks", "main_py", "redis_main_py"]

TUTORIAL = Path(__file__).with_name("tutorial.txt")
_REDIS_PART = "Add Redis for multiple workers"
_REDIS_URL = "redis://localhost:6379/0"


def blocks(text: str) -> list[str]:
    """The code in `text`, block by block, in order, indentation kept.

    The rule: lines that begin with `uv ` are for the shell; what is left is cut at blank lines; a piece that compiles
    as Python is code, and all others are prose.
    """
    pieces = "\n".join(line for line in text.splitlines() if not line.startswith("uv ")).split("\n\n")
    return [piece for piece in (piece.strip("\n") for piece in pieces) if piece and _compiles(piece)]


def main_py() -> str:
    """The program that the tutorial has built before it comes to Redis."""
    return "\n\n\n".join(blocks(_parts()[0])) + "\n"


def redis_main_py(url: str, users: str) -> str:
    """The same with its cache and its lifespan replaced by those of the Redis part, on the server at `url`.

    `users` takes the place of the dictionary `USERS`, which workers cannot share.
    """
    before, after = (blocks(part) for part in _parts())
    lifespan = _only(after, "@asynccontextmanager")
    cache = "\n\n\n".join(block for block in after if block is not lifespan)
    assert cache.count(_REDIS_URL) == 1
    replacements = {
        "cache = ": cache.replace(_REDIS_URL, url),
        "@asynccontextmanager": lifespan,
        "USERS = ": users,
    }
    for start, replacement in replacements.items():
        before[before.index(_only(before, start))] = replacement
    return "\n\n\n".join(before) + "\n"


def _parts() -> tuple[str, str]:
    before, found, after = TUTORIAL.read_text().partition(f"\n{_REDIS_PART}\n")
    assert found
    return before, after


def _only(found: list[str], start: str) -> str:
    (block,) = [block for block in found if block.startswith(start)]
    return block


def _compiles(piece: str) -> bool:
    try:
        compile(piece, str(TUTORIAL), "exec")
    except SyntaxError:
        return False
    return True
