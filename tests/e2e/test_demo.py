"""The demo passes on every broker, and fails where the cache is broken, the log away, or nothing was proved."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.demo.brokers import NAMES, running
from examples.demo.checker import Checker, Read, Write, parse_position, show_position
from examples.demo.verdict import Outcome, verdict

ROOT = Path(__file__).parents[2]
SECONDS = "8"

DEAF = """
import sys

class Deafen:
    # invalidations are counted and then ignored, as soon as the module is there
    def find_spec(self, name, path=None, target=None):
        if name == "async_hybrid_cache.lifecycle":
            from async_hybrid_cache.scopes import Scopes
            Scopes.apply = lambda self, event, position: None

sys.meta_path.insert(0, Deafen())
"""


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as a user does, and end its processes with it."""
    command = [sys.executable, "-m", "examples.demo", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate()
            raise AssertionError(f"the demo did not end:\n{output}{errors}") from None
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def check_passed(done: subprocess.CompletedProcess[str]) -> None:
    """Exit status 0, and a verdict with figures in it."""
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    for line in (
        r"✓ reads checked +\d{3,} .*across processes",
        r"✓ stale reads +0$",
        r"✓ gone elsewhere +p50 [\d.]+ ms, p99 [\d.]+ ms +after the answer of \d{2,} writes",
        r"✓ fills fenced +[1-9]",
        r"✓ events replayed +[1-9].* by users-3, [1-9]\d* writes missed",
        r"✓ catch-up +[\d.]+ s",
        r"✓ gaps +0 ",
        r"✓ failed requests +0$",
        r"^PASSED$",
    ):
        assert re.search(line, done.stdout, re.MULTILINE), f"{line} is not in:\n{done.stdout}"


@pytest.mark.parametrize("name", NAMES)
def test_on_a_broker_that_it_starts_itself(name: str) -> None:
    check_passed(demo("--seconds", SECONDS, "--broker", name))


@pytest.mark.parametrize("url", ["redis://user:geheim@host:6379/0", "sqlite:///cache.db"])
def test_a_url_is_taken_as_it_is(url: str, tmp_path: Path) -> None:
    with running(url, tmp_path) as broker:
        assert broker == url
    assert list(tmp_path.iterdir()) == []


def test_processes_that_hear_nothing_fail_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEAF)
    done = demo("--seconds", SECONDS, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"✗ stale reads +[1-9]", done.stdout)
    assert re.search(r"^FAILED: stale reads", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--broker", "redis://user:geheim@127.0.0.1:1/0"), "demo: the log cannot be reached: "),
        (("--broker", "bogus://user:geheim@host"), "demo: no broker for the scheme 'bogus'; installed: "),
        (("--broker", "memory://"), "demo: memory:// stays in one process, "),
        (("--broker", "rabbit"), "demo: a broker is a URL, scheme://..., or one of sqlite, redis, nats, kafka"),
        (("--broker", "user:geheim@host"), "demo: a broker is a URL, scheme://..., or one of "),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_clear_line(arguments: tuple[str, ...], error: str) -> None:
    done = demo(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(error)
    assert done.stderr.count("\n") == 1
    assert "geheim" not in done.stderr


# -- the judge -----------------------------------------------------------------------------------------------

WRITE = Write("peter", 2, "one", (7, 10), answered=1.0)


@pytest.mark.parametrize(
    ("read", "checked", "stale"),
    [
        (Read("peter", 2, "two", (7, 10), began=2.0), 1, 0),
        (Read("peter", 1, "two", (7, 10), began=2.0), 1, 1),
        (Read("peter", 1, "two", (8, 1), began=2.0), 1, 1),
        (Read("peter", 3, "two", (7, 99), began=2.0), 1, 0),
        # not applied there yet, not answered yet, another user: nothing to judge
        (Read("peter", 1, "two", (7, 9), began=2.0), 0, 0),
        (Read("peter", 1, "two", None, began=2.0), 0, 0),
        (Read("peter", 1, "two", (7, 10), began=0.9), 0, 0),
        (Read("paul", 1, "two", (7, 10), began=2.0), 0, 0),
        # its own write binds an instance at once
        (Read("peter", 1, "one", (7, 9), began=2.0), 1, 1),
        (Read("peter", 2, "one", None, began=2.0), 1, 0),
    ],
)
def test_the_judge(read: Read, checked: int, stale: int) -> None:
    checker = Checker()
    checker.wrote(WRITE)
    checker.read(read)
    assert (checker.reads, checker.checked, len(checker.stale)) == (1, checked, stale)


def test_the_newest_write_that_binds_is_the_measure() -> None:
    checker = Checker()
    checker.wrote(WRITE)
    checker.wrote(Write("peter", 3, "three", (7, 12), answered=1.5))
    checker.read(Read("peter", 2, "two", (7, 11), began=2.0))
    assert checker.stale == []
    checker.read(Read("peter", 2, "two", (7, 12), began=2.0))
    (stale,) = checker.stale
    assert "two showed version 2 of peter 500.0 ms after three answered version 3" in stale


def test_positions() -> None:
    assert parse_position("17-42") == (17, 42)
    assert parse_position(None) is parse_position("") is None
    assert show_position(parse_position("17-42")) == "17-42"
    assert (17, 9) < (17, 42) < (18, 1)


# -- the verdict ---------------------------------------------------------------------------------------------

GOOD = Outcome(
    reads=500, checked=400, across=300, stale=[], hits=200, gone=[0.002] * 30, fenced=3, replayed=5, missed=4,
    caught_up=0.5, killed="users-3", gaps=0, failed=[],
)  # fmt: skip


@pytest.mark.parametrize(
    ("worse", "failed"),
    [
        ({}, None),
        ({"stale": ["a stale read"]}, "stale reads"),
        ({"checked": 10}, "reads checked"),
        ({"across": 10}, "reads checked"),
        ({"hits": 0}, "answered from L1"),
        ({"gone": []}, "gone elsewhere"),
        ({"fenced": 0}, "fills fenced"),
        ({"replayed": 0}, "events replayed"),
        ({"missed": 0}, "events replayed"),
        ({"caught_up": None}, "catch-up"),
        ({"gaps": 1}, "gaps"),
        ({"failed": ["GET on users-1: status 500"]}, "failed requests"),
    ],
)
def test_a_verdict_needs_everything(worse: dict[str, Any], failed: str | None) -> None:
    checks = verdict(replace(GOOD, **worse))
    assert [check.name for check in checks if not check.passed] == ([failed] if failed else [])
