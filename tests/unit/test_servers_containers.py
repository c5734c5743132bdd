"""`SERVERS=docker`: the same servers from the images of `compose/`; without an engine, one message and no skip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.containers import KafkaContainer, NatsContainer, ValkeyContainer
from tests.servers.kinds import server_kind

ROOT = Path(__file__).parents[2]
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.mark.parametrize("kind", ["valkey", "nats", "kafka", "postgres"])
def test_without_an_engine_a_test_fails_and_says_what_to_do(kind: str, tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(f"def test_it(own_{kind}): pass\n\ndef test_shared({kind}): pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rN",
        "-p",
        "tests.conftest",
        "--rootdir",
        str(tmp_path),
        str(test),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **NO_ENGINE, "SERVERS": "docker"}, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 errors" in done.stdout
    assert "skipped" not in done.stdout
    assert done.stdout.count("ServerFailed: SERVERS=docker needs a running Docker engine on this machine") == 2


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVERS", "podman")
    with pytest.raises(ValueError, match="'local' or 'docker', not 'podman'"):
        server_kind("nats")


@pytest.mark.parametrize(
    ("kind", "name"), [(ValkeyContainer, "redis"), (NatsContainer, "nats"), (KafkaContainer, "kafka")]
)
def test_the_images_are_those_of_compose(kind: type[ValkeyContainer], name: str) -> None:
    assert re.findall(r"image: (\S+)", (ROOT / "compose" / f"{name}.yaml").read_text()) == [kind.image]
