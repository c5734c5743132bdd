"""Whether a type, and what was written for it, is recognised."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from async_hybrid_cache import EncodeError, JsonSerializer, MsgpackSerializer
from async_hybrid_cache.snapshot.codecs import ScopeCodecs
from async_hybrid_cache.snapshot.identity import describe


class Colour(enum.Enum):
    RED = 1


class Leaf(msgspec.Struct):
    size: int


class Tree(msgspec.Struct):
    leaves: list[Leaf]
    parent: Tree | None = None


@dataclasses.dataclass
class Point:
    x: int = 0
    at: list[int] = dataclasses.field(default_factory=lambda: [1])


class Row(TypedDict):
    colour: Colour


class Pair(NamedTuple):
    left: Leaf


class Model(pydantic.BaseModel):
    colour: Colour
    made: list[int] = pydantic.Field(default_factory=lambda: [1])


EVERY = [
    Any, None, int, list[int], dict[str, Tree], Tree | None, Literal["a", 1], Annotated[int, object()], Colour, Leaf,
    Tree, Point, Row, Pair, Model, "Unresolved", type, tuple[int, ...],
]  # fmt: skip


def test_every_type_is_described_alike_in_every_process() -> None:
    here = [describe(kind) for kind in EVERY]
    assert len(set(here)) == len(here)
    program = f"from {__name__} import EVERY; from async_hybrid_cache.snapshot.identity import describe; " + (
        "print([describe(kind) for kind in EVERY])"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert there.strip() == repr(here)


def leaf(*fields: Any, **options: Any) -> Any:
    return msgspec.defstruct("Leaf", fields, module="app", **options)


@pytest.mark.parametrize(
    "changed",
    [
        leaf(("size", float), ("rank", int, 0)),
        leaf(("size", int), ("rank", int, 1)),  # where defaults are left out, the new one would be read
        leaf(("rank", int, 0), ("size", int, 0)),
        leaf(("size", int), ("rank", int, 0), rename="camel", array_like=True),
        leaf(("size", int), ("rank", int, 0), tag="x"),
        leaf(("size", int), ("rank", int, 0), rename="upper"),
    ],
)
def test_every_change_of_a_nested_type_is_one_of_what_holds_it(changed: Any) -> None:
    def holding(inner: Any) -> str:
        holder = msgspec.defstruct("Holder", [("items", dict[str, list[inner]])], module="app")
        return describe(list[holder] | None)

    original = leaf(("size", int), ("rank", int, 0))
    assert holding(original) == holding(leaf(("size", int), ("rank", int, 0))) != holding(changed)


def test_an_enum_whose_values_changed_is_another() -> None:
    assert describe(enum.Enum("E", {"A": 1})) != describe(enum.Enum("E", {"A": 2}))


def test_each_value_comes_back_through_a_serializer_that_gives_it_back() -> None:
    codecs = ScopeCodecs(MsgpackSerializer(), [Leaf, Tree, Point])
    for value in (Leaf(1), Tree([Leaf(2)]), Point(3), {"plain": [1, None]}, None):
        back = codecs.load(*codecs.dump(value))
        assert type(back) is type(value)
        assert back == value
    with pytest.raises(EncodeError):
        codecs.dump(object())


class Coercing:
    """A serializer that turns whatever it gets into its type."""

    def __init__(self, kind: Any = Any) -> None:
        self._kind = kind

    def typed(self, annotation: Any) -> Coercing:
        """One for this type."""
        return Coercing(annotation)

    def dumps(self, value: Any) -> bytes:
        """Never fails."""
        return str(value).encode()

    def loads(self, data: bytes) -> Any:
        """The text, as the type."""
        return data.decode() if self._kind is Any else self._kind(data.decode())


def test_a_serializer_of_another_function_does_not_change_a_type() -> None:
    codecs = ScopeCodecs(Coercing(), [int, float])
    for value in (1, 1.0, "1"):
        back = codecs.load(*codecs.dump(value))
        assert (type(back), back) == (type(value), value)


def test_the_kind_of_serializer_is_part_of_the_identity() -> None:
    assert ScopeCodecs(MsgpackSerializer(), []).identity != ScopeCodecs(JsonSerializer(), []).identity
    assert ScopeCodecs(MsgpackSerializer(), []).identity != ScopeCodecs(MsgpackSerializer(), [int]).identity
    assert (
        ScopeCodecs(MsgpackSerializer(), [int, Leaf]).identity == ScopeCodecs(MsgpackSerializer(), [Leaf, int]).identity
    )
