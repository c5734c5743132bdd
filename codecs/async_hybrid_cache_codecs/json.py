"""JSON: for values that people and other programs read too."""

from __future__ import annotations

from typing import Any

import msgspec

from .checked import CheckedSerializer, Codec
from .models import decode_hook, encode_hook

__all__ = ["JsonSerializer"]


class JsonSerializer(CheckedSerializer):
    """Values as JSON, decoded to `type` (default: `Any`, plain data only).

    Takes what `MsgpackSerializer` takes, except NaN and infinity, which JSON cannot say. An aware datetime
    comes back with its offset, as the same instant.
    """

    _fixes = "MsgpackSerializer or PickleSerializer"

    def _build(self, type: Any) -> Codec:
        encoder = msgspec.json.Encoder(enc_hook=encode_hook)
        return Codec(encoder.encode, msgspec.json.Decoder(type, dec_hook=decode_hook).decode)
