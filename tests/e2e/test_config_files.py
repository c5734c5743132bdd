"""One application, four configuration files, and nothing else changed: two processes hear of each other's changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from async_hybrid_cache.config import read_configuration
from tests.docs.examples import ROOT

EXAMPLES = ROOT / "examples" / "config"
FILES = sorted(EXAMPLES.glob("*.toml"))
SERVERS = {"redis://localhost:6379/0": "valkey", "nats://localhost:4222": "nats", "kafka://localhost:9092": "kafka"}


class App:
    """The application in a process of its own, spoken to as its users do."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def says(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it ended with {self._process.wait()}"
        return line.strip()

    def ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self.says()

    def comes_to_show(self, who: str, name: str) -> None:
        deadline = monotonic() + 5
        while (shown := self.ask(f"show {who}")) != name:
            assert monotonic() < deadline, f"it still shows {shown}"
            sleep(0.005)


@contextmanager
def running(config: Path, database: Path) -> Iterator[App]:
    command = [sys.executable, "-W", "error", str(EXAMPLES / "app.py"), str(config), str(database)]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ASYNC_HYBRID_CACHE_")}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=config.parent, env=plain
    ) as process:
        app = App(process)
        try:
            assert app.says() == "ready"
            yield app
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(15) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_two_processes_on_one_file(file: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = file.read_text().replace('"directory"', f'"n{uuid.uuid4().hex}"')
    for url, fixture in SERVERS.items():
        if url in text:
            text = text.replace(url, request.getfixturevalue(fixture).url)
    config = tmp_path / file.name
    config.write_text(text)
    database = tmp_path / "people.json"
    database.write_text(json.dumps({"ada": "Byron", "alan": "Turing"}))
    with ExitStack() as stack:
        one, two = (stack.enter_context(running(config, database)) for _ in range(2))
        for app in (one, two):
            assert app.ask("show ada") == "Byron"
            assert app.ask("show ada") == "Byron"
        assert one.ask("rename ada Lovelace").startswith("renamed at ")
        assert one.ask("show ada") == "Lovelace"
        two.comes_to_show("ada", "Lovelace")
        assert two.ask("rename ada King").startswith("renamed at ")
        one.comes_to_show("ada", "King")
        loads = []
        for app in (one, two):
            status, loaded, gaps = app.ask("stats").split()
            assert (status, gaps) == ("ok", "gaps=0")
            loads.append(int(loaded.removeprefix("loads=")))
        # at first and after each change, at most once in each process
        assert 3 <= sum(loads) <= 6


def test_the_files_differ_in_their_urls_alone() -> None:
    assert [file.stem for file in FILES] == ["kafka", "nats", "redis", "sqlite"]
    rest = {
        tuple(line for line in file.read_text().splitlines() if not line.startswith(("#", "bus", "l2")))
        for file in FILES
    }
    assert len(rest) == 1


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_are_read_as_they_stand(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ASYNC_HYBRID_CACHE_")]:
        monkeypatch.delenv(name)
    config = read_configuration(file)
    assert config.bus is not None
    assert config.new_distributed_cache() is not None
