"""The Python blocks of a Markdown page, in the chains in which they run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PAGES", "ROOT", "SERVERS", "Chain", "chains", "run"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SERVERS = {"own_valkey": "redis://localhost:6379/0", "own_postgres": "postgresql://localhost/app"}
"""What the pages write; replaced by the URL of a server of the test's own, by fixture."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_DIRECTIVE = re.compile(r"<!-- example: (\w+) -->\n+\Z")
_RUNNER = Path(__file__).with_name("runner.py")


@dataclass
class Chain:
    """A block and those marked `<!-- example: continues -->` after it. They share a module and an event loop."""

    page: Path
    blocks: list[tuple[int, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.blocks[0][0]}"

    @property
    def needs(self) -> list[str]:
        """The fixtures of the servers that it talks to."""
        return [name for name, url in SERVERS.items() if any(url in source for _, source in self.blocks)]


def chains(page: Path) -> Iterator[Chain]:
    """The chains of one page; between them they hold every Python block of it."""
    text = page.read_text()
    chain: Chain | None = None
    for fence in _FENCE.finditer(text):
        if fence[1] != "python":
            continue
        directive = _DIRECTIVE.search(text, 0, fence.start())
        line = text.count("\n", 0, fence.start(2)) + 1
        if directive is None or chain is None:
            assert directive is None, f"{page}:{line}: nothing to continue"
            if chain is not None:
                yield chain
            chain = Chain(page)
        else:
            assert directive[1] == "continues", f"{page}:{line}: no directive {directive[1]!r}"
        chain.blocks.append((line, fence[2]))
    if chain is not None:
        yield chain


def run(chain: Chain, folder: Path, servers: Mapping[str, str] | None = None, then: str = "") -> None:
    """Run a chain in a process of its own, in `folder`, and `then` after it; fails with what it wrote.

    `servers` tells, by fixture, the URLs that take the place of those on the page.
    """
    blocks = chain.blocks
    for name, url in (servers or {}).items():
        blocks = [(line, source.replace(SERVERS[name], url)) for line, source in blocks]
    if then:
        blocks = [*blocks, (1, then)]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(_RUNNER), str(chain.page)],
        input=json.dumps(blocks),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{chain} fails:\n{done.stdout}{done.stderr}"
