"""Values and events to bytes and back. Knows nothing above it."""

from .base import Serializer, TypedSerializer
from .errors import CacheError, DecodeError, EncodeError
from .json import JsonSerializer
from .msgpack import MsgpackSerializer
from .pickle import PickleSerializer
from .pydantic import PydanticSerializer

__all__ = [
    "CacheError",
    "DecodeError",
    "EncodeError",
    "JsonSerializer",
    "MsgpackSerializer",
    "PickleSerializer",
    "PydanticSerializer",
    "Serializer",
    "TypedSerializer",
]
