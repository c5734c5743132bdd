"""MessagePack, the default: compact, fast, typed."""

from __future__ import annotations

from typing import Any

import msgspec

from .checked import CheckedSerializer, Codec
from .models import decode_hook, encode_hook

__all__ = ["MsgpackSerializer"]


class MsgpackSerializer(CheckedSerializer):
    """Values as MessagePack, decoded to `type` (default: `Any`, plain data only).

    Takes plain data, dataclasses, msgspec structs, TypedDict, NamedTuple, date and time types, Decimal, UUID,
    enums, unions and pydantic models, nested in any way. An aware datetime comes back in UTC, as the same
    instant.
    """

    _fixes = "PydanticSerializer or PickleSerializer"

    def _build(self, type: Any) -> Codec:
        encoder = msgspec.msgpack.Encoder(enc_hook=encode_hook)
        return Codec(encoder.encode, msgspec.msgpack.Decoder(type, dec_hook=decode_hook).decode)
