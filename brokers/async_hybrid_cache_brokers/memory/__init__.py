"""A log in memory: one process, for tests and for a single worker."""

from .broker import BROKER
from .bus import MemoryInvalidationBus
from .log import MemoryLog

__all__ = ["BROKER", "MemoryInvalidationBus", "MemoryLog"]
