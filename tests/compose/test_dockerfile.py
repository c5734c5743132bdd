"""The Dockerfile of the demo, as far as it can be followed without an engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.compose.files import FOLDER, ROOT, copied, instructions

WHERE = """
import importlib, json, sys
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
"""


def test_it_is_small_pinned_and_not_root() -> None:
    (base,) = [arguments for word, arguments in instructions() if word == "FROM"]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base)
    words = [word for word, _ in instructions()]
    assert dict(instructions())["USER"] not in ("root", "0")
    assert words.index("USER") < words.index("CMD")


def test_what_it_copies_is_there_and_not_ignored() -> None:
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    assert ignore[1] == "*"
    for source, _ in copied():
        assert source.exists(), source
        top = source.relative_to(ROOT).parts[0]
        assert any(fnmatch.fnmatch(top, pattern) for pattern in kept), source


def test_the_extras_that_it_installs_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (installed,) = [arguments for word, arguments in instructions() if word == "RUN"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", installed)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_its_command_starts_from_what_it_copies_alone(tmp_path: Path) -> None:
    for source, target in copied():
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, tmp_path / target)
        else:
            shutil.copy(source, tmp_path / target)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    for needed in (project["project"]["readme"], *project["project"]["license-files"]):
        assert (tmp_path / needed).is_file()
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    server, application, *_ = json.loads(dict(instructions())["CMD"])
    module, _, name = application.partition(":")
    assert (server, name) == ("uvicorn", "app")
    # in front of the editable installation that these tests run from
    path = os.pathsep.join(str((tmp_path / package).parent) for package in packages)
    command = [sys.executable, "-c", WHERE, module, *(Path(package).name for package in packages)]
    environment = {**os.environ, "PYTHONPATH": path, "BROKER_URL": "sqlite:///cache.db"}
    imported = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert imported.returncode == 0, imported.stderr
    for file in imported.stdout.splitlines():
        assert Path(file).is_relative_to(tmp_path)
