"""What can be known of `compose/` without a Docker engine: valid, pinned, durable, healthy, and explained."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compose.files import FOLDER, SERVERS, instructions, load, services

PINNED = re.compile(r"[\w./-]+:v?\d+(\.\d+)+(-[\w.]+)?")
SERVICES = [f"{file}-{name}" for file, name, _ in services()]
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_specification_takes_it(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(("file", "name", "service"), services(), ids=SERVICES)
def test_every_service_is_pinned_and_says_whether_it_is_well(file: str, name: str, service: dict[str, Any]) -> None:
    assert PINNED.fullmatch(service["image"])
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize(("file", "name", "service"), services(), ids=SERVICES)
def test_nothing_is_published_beyond_this_host(file: str, name: str, service: dict[str, Any]) -> None:
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port)


@pytest.mark.parametrize("name", SERVERS)
def test_the_data_of_a_server_outlives_its_container(name: str) -> None:
    file = load(name)
    (volume,) = file["volumes"]
    (mounted,) = [each for each in file["services"][name]["volumes"] if each.startswith(f"{volume}:")]
    assert mounted.removeprefix(f"{volume}:").startswith("/")


@pytest.mark.parametrize(("file", "name", "service"), services(), ids=SERVICES)
def test_every_file_that_is_mounted_is_there(file: str, name: str, service: dict[str, Any]) -> None:
    for mount in service.get("volumes", []):
        source = mount.partition(":")[0]
        if source.startswith("."):
            assert (FOLDER / source).is_file()
        else:
            assert source in load(file)["volumes"]


def test_one_project_so_that_the_demo_finds_the_servers_by_name() -> None:
    assert {load(file.stem)["name"] for file in FILES} == {"async-hybrid-cache"}
    names = [name for _, name, _ in services()]
    assert len(names) == len(set(names))


def test_the_demo_is_three_instances_of_one_image_on_one_broker() -> None:
    found = load("demo")["services"]
    balancer = found.pop("balancer")
    assert len(found) == 3
    environments = [service["environment"] for service in found.values()]
    assert [environment.pop("INSTANCE_ID") for environment in environments] == list(found)
    assert environments[0]["BROKER_URL"] == "${BROKER_URL:-sqlite:////data/cache.db}"
    assert all(environment == environments[0] for environment in environments)
    assert len({(service["image"], str(service["build"])) for service in found.values()}) == 1
    assert list(balancer["depends_on"]) == list(found)
    (line,) = re.findall(r"reverse_proxy (.+) \{", (FOLDER / "Caddyfile").read_text())
    command = dict(instructions())["CMD"]
    assert line.split() == [f"{name}:8000" for name in found]
    assert '"--port", "8000"' in command


def test_every_file_has_its_command_in_the_readme() -> None:
    text = (FOLDER / "README.md").read_text()
    for file in FILES:
        assert f"-f compose/{file.name} " in text
    for service, url in (
        ("redis", "redis://redis:6379/0"),
        ("nats", "nats://nats:4222"),
        ("kafka", "kafka://kafka:19092"),
    ):
        assert f"BROKER_URL={url} docker compose -f compose/{service}.yaml -f compose/demo.yaml up" in text
