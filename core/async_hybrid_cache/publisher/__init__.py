"""Publishing only: for programs that change data and cache nothing."""

from .publisher import InvalidationPublisher
from .sync import SyncInvalidationPublisher

__all__ = ["InvalidationPublisher", "SyncInvalidationPublisher"]
