"""JSON by way of pydantic: for annotations that only pydantic understands."""

from __future__ import annotations

from functools import partial
from typing import Any

from .checked import CheckedSerializer, Codec
from .errors import CacheError
from .models import pydantic, validated

__all__ = ["PydanticSerializer"]


class PydanticSerializer(CheckedSerializer):
    """Values as JSON, through pydantic's `TypeAdapter` of `type` (default: `None`, plain data only).

    Takes every annotation that pydantic takes, unions of models included. Raises `CacheError` where pydantic
    is not installed.
    """

    _fixes = "PickleSerializer"

    def __init__(self, type: Any = None) -> None:
        try:
            pydantic()
        except ImportError as error:
            raise CacheError(
                "PydanticSerializer needs pydantic; run: pip install 'async-hybrid-cache[pydantic]'"
            ) from error
        super().__init__(Any if type is None else type)

    def _build(self, type: Any) -> Codec:
        from pydantic import TypeAdapter

        adapter: TypeAdapter[Any] = TypeAdapter(type)
        # warnings are off since whatever they warn of fails the round trip
        encode = partial(adapter.dump_json, round_trip=True, warnings=False, **pydantic().dump)
        return Codec(encode, partial(validated, adapter.validate_json))
