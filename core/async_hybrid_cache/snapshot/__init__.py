"""L1 over restarts: written to a file now and then, read back at the start, and brought up to date by the log."""

from .snapshot import Snapshot, checked_path
from .staged import Staged

__all__ = ["Snapshot", "Staged", "checked_path"]
