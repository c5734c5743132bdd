"""The jars of Apache Kafka, from Maven Central through `jgo`, kept outside the checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["KAFKA_VERSION", "kafka_jars"]

KAFKA_VERSION = "4.4.0"
# no binding of log4j: with one named here, jgo settles on a kafka-clients older than the broker
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"


def kafka_jars() -> Path:
    """The folder of the broker's jars; downloads 43 MB the first time, once for all processes of this user."""
    folder = _cache() / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # jgo does not lock its repository
            if not folder.is_dir():
                _fetch(folder)
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "async-hybrid-cache"


def _fetch(folder: Path) -> None:
    import jgo  # only here: whoever has the jars needs no resolver

    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        environment = jgo.build(_ENDPOINT, cache_dir=Path(temporary) / "jgo")
        complete = Path(temporary) / "jars"
        complete.mkdir()
        for jar in [*environment.path.glob("jars/*.jar"), *environment.path.glob("modules/*.jar")]:
            if not jar.name.startswith("log4j-core-"):
                shutil.copyfile(jar, complete / jar.name)
        if not (complete / f"kafka-clients-{KAFKA_VERSION}.jar").exists():
            raise RuntimeError(f"jgo resolved another kafka-clients than {KAFKA_VERSION}")
        complete.rename(folder)  # so a folder that is there is whole
