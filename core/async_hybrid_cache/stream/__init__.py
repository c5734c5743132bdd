"""The one consumer and producer for every log."""

from .outbox import Pending
from .stream import InvalidationStream, StreamListener

__all__ = ["InvalidationStream", "Pending", "StreamListener"]
