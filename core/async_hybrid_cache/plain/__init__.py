"""An L2 of the user's own making that can do no more than get, set and delete."""

from .adapted import AdaptedCache
from .protocol import PlainDistributedCache, adapted

__all__ = ["AdaptedCache", "PlainDistributedCache", "adapted"]
