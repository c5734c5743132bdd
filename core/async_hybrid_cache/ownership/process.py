"""Which process this is, and whether another one on this host still runs."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["process_is_gone", "this_process"]

_PROC = Path("/proc")


def this_process() -> str:
    """Boot, pid namespace, pid and start time; empty where the system does not tell (outside Linux)."""
    return _identity(os.getpid()) or ""


def process_is_gone(identity: str) -> bool | None:
    """Whether the process that `this_process` named has ended; None where that cannot be seen from here."""
    here = _place()
    if not identity or here is None or not identity.startswith(f"{here} "):
        return None
    pid = int(identity.split(" ")[2])
    found = _identity(pid)
    if found is None and _is_hidden(pid):
        return None
    # another process may have its number by now
    return found != identity


def _is_hidden(pid: int) -> bool:
    """Whether it runs, and /proc does not show it: hidepid hides the processes of other users."""
    if (_PROC / str(pid)).exists():
        return False  # a zombie
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # there, and somebody else's
    return True


def _place() -> str | None:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return None


def _identity(pid: int) -> str | None:
    place = _place()
    if place is None:
        return None
    try:
        # the name in the second field may hold blanks and brackets
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{place} {pid} {started}"
