"""The files of `compose/`, read by those who know their formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

__all__ = ["FOLDER", "ROOT", "SERVERS", "copied", "instructions", "load", "services"]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose"
SERVERS = ("redis", "nats", "kafka")


def load(name: str) -> dict[str, Any]:
    """`compose/<name>.yaml`, its anchors resolved."""
    loaded: dict[str, Any] = YAML(typ="safe").load(FOLDER / f"{name}.yaml")
    return loaded


def services() -> list[tuple[str, str, dict[str, Any]]]:
    """File, name and content of every service."""
    files = [file.stem for file in sorted(FOLDER.glob("*.yaml"))]
    return [(file, name, service) for file in files for name, service in load(file)["services"].items()]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as instructions and their arguments."""
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def copied() -> list[tuple[Path, Path]]:
    """What the Dockerfile copies: from where under `ROOT`, and to where under its working directory."""
    pairs = []
    for word, arguments in instructions():
        if word == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                within = Path(target, Path(source).name) if target.endswith("/") else Path(target)
                pairs.append((ROOT / source, within))
    return pairs
