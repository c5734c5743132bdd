"""FastAPI applications under a real uvicorn, as processes of their own."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.servers.ports import LOOPBACK, free_port
from tests.servers.process import ServerProcess

__all__ = ["App"]


class App:
    """`main:app` of `folder` under uvicorn; a context manager.

    `python` is the interpreter, this one by default; give each worker that shares a folder a `name`.
    """

    def __init__(self, folder: Path, *, name: str = "app", python: Path | str = sys.executable) -> None:
        self._port = free_port()
        self.url = f"http://{LOOPBACK}:{self._port}"
        self.log = folder / f"{name}.log"
        command = [str(python), "-m", "uvicorn", "main:app", "--app-dir", str(folder), "--port", str(self._port)]
        self._process = ServerProcess([*command, "--no-access-log"], log=self.log, ready=self._listens)

    def __enter__(self) -> App:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()

    def _listens(self) -> bool:
        # uvicorn listens once the application's lifespan has begun
        try:
            with socket.create_connection((LOOPBACK, self._port), timeout=1):
                return True
        except OSError:
            return False
