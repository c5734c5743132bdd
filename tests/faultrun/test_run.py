"""A short fault run passes, and one whose workers lack a rule of the cache fails: the checker sees what it is for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.faultrun.report import Report, make_report
from tests.faultrun.run import play


def fault_run(folder: Path, fault: str, seconds: float, without: str | None = None) -> Report:
    """On Redis, with that fault until the time is over."""
    folder.mkdir()
    record = asyncio.run(play("redis", folder, seconds=seconds, seed=5, only=[fault], without=without))
    return make_report(record, "redis", 5, without)


def test_a_run_passes_with_every_rule_and_fails_without_one(tmp_path: Path) -> None:
    good = fault_run(tmp_path / "good", "worker killed", 1)
    assert good.status == 0, str(good)
    bad = fault_run(tmp_path / "bad", "L2 wiped", 6, without="an overtaken load may fill")
    assert bad.status == 1, str(bad)
