"""What every value serializer promises: the same value of the same type comes back, or `EncodeError`."""

from __future__ import annotations

import enum
import inspect
import math
import random
import subprocess
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from async_hybrid_cache_codecs import (
    DecodeError,
    EncodeError,
    JsonSerializer,
    MsgpackSerializer,
    PydanticSerializer,
    Serializer,
    TypedSerializer,
)
from tests.unit.codecs.samples import (
    ID,
    NOON,
    Account,
    Admin,
    Aliased,
    Bare,
    Cat,
    Colour,
    Computed,
    Item,
    Level,
    Numbers,
    Opaque,
    Open,
    Point,
    Private,
    Row,
    Strict,
    Team,
    User,
)

ALL = (MsgpackSerializer, JsonSerializer, PydanticSerializer)
MSGSPEC = (MsgpackSerializer, JsonSerializer)

FITTING: list[tuple[Any, Any]] = [
    (int, 5),
    (bool, True),
    (float, 1.5),
    (float, -0.0),
    (str, "größe\x00"),
    (bytes, b"text"),
    (type(None), None),
    (int | None, None),
    (int | str, "5"),
    (Literal["a", "b"], "b"),
    (Annotated[int, "unhashable", []], 3),
    (datetime, NOON),
    (datetime, NOON.replace(tzinfo=None)),
    (datetime, NOON.astimezone(timezone(timedelta(hours=2)))),
    (date, NOON.date()),
    (time, time(1, 2, 3)),
    (timedelta, timedelta(days=-1, microseconds=7)),
    (Decimal, Decimal("1.50")),
    (UUID, ID),
    (Colour, Colour.RED),
    (Level, Level.LOW),
    (list[int], [1, 2]),
    (list[Any], ["a", 1, None, {"b": [1.5]}]),
    (set[int], {1, 2}),
    (frozenset[Point], frozenset({Point(1, 2)})),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], ()),
    (dict[str, str], {"a": "b"}),
    (dict[int, float], {1: 0.5}),
    (dict[UUID, Decimal], {ID: Decimal(1)}),
    (dict[str, list[Account]], {"a": [Account(ID, Decimal("0.10"), NOON, frozenset({"x"}))]}),
    (Point, Point(1, 2)),
    (Row, {"id": 1, "when": NOON}),
    (Account, Account(ID, Decimal("1.10"))),
    (Account | None, None),
    (Opaque, Opaque("a", Account(ID, Decimal(1)))),
    (User, User(id=1, name="Ada", at=NOON, price=Decimal("9.90"), tags={"a"})),
    (User | None, None),
    (list[User], [User(id=1, name="Ada"), User(id=2, name="Bo")]),
    (dict[str, User | None], {"a": User(id=1, name="Ada"), "b": None}),
    (Team, Team(User(id=1, name="Ada"), [User(id=2, name="Bo", at=NOON)])),
    (Aliased, Aliased(userId=1, fullName="Ada", old=5)),
    (Strict, Strict(on=NOON.date(), pair=(1, 2), id=ID)),
    (Computed, Computed(side=2.0)),
    (Open, Open(anything=[1, "two"])),
    (Numbers, Numbers([1, 2])),
    (Private, Private(name="a")),
]


def label(case: Any) -> str:
    return getattr(case, "__name__", None) or str(case)


def members(value: Any) -> Any:
    """Something with an `__eq__` for the two classes of this module that have none."""
    return (vars(value), type(value)) if isinstance(value, Opaque) else value


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("annotation", "value"), FITTING, ids=label)
def test_a_value_that_fits_its_annotation_comes_back(kind: type[TypedSerializer], annotation: Any, value: Any) -> None:
    serializer = kind().typed(annotation)
    back = serializer.loads(serializer.dumps(value))
    assert members(back) == members(value)
    assert type(back) is type(value)


@pytest.mark.parametrize("kind", MSGSPEC)
@pytest.mark.parametrize("value", [Item("a", Decimal("1.0")), Bare("a")], ids=label)
def test_a_struct_comes_back(kind: type[TypedSerializer], value: Any) -> None:
    serializer = kind().typed(type(value))
    back = serializer.loads(serializer.dumps(value))
    assert msgspec.structs.asdict(back) == msgspec.structs.asdict(value)
    assert type(back) is type(value)


@pytest.mark.parametrize("annotation", [Any, object, inspect.Parameter.empty])
@pytest.mark.parametrize(
    "value",
    [None, 1, 2**63, 1.5, True, "a", b"\xff\x00", [1, ["a"]], {"a": {1: None, (2, "x"): 0.5}}, math.inf, NOON],
    ids=str,
)
def test_plain_data_needs_no_annotation(annotation: Any, value: Any) -> None:
    serializer = MsgpackSerializer().typed(annotation)
    back = serializer.loads(serializer.dumps(value))
    assert back == value
    assert type(back) is type(value)


def test_nan_is_carried_by_msgpack_and_refused_by_json() -> None:
    assert math.isnan(MsgpackSerializer().loads(MsgpackSerializer().dumps([math.nan]))[0])
    for kind in (JsonSerializer, PydanticSerializer):
        with pytest.raises(EncodeError):
            kind(list[float]).dumps([math.nan])


class BackAnHour(tzinfo):
    """A zone in the hour that its clocks go through twice; needs no time zone database."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=1 if when is not None and when.fold else 2)


def test_an_aware_datetime_comes_back_in_the_hour_that_a_clock_change_repeats() -> None:
    twice = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BackAnHour())
    for kind in ALL:
        serializer = kind(list[datetime])
        (back,) = serializer.loads(serializer.dumps([twice]))
        assert back.timestamp() == twice.timestamp()


UNTYPED: list[tuple[Any, str]] = [
    ((1, 2), "tuple would come back as list"),
    ([{"a": (1,)}], "tuple would come back as list at $[0][a value]"),
    ({1}, "set would come back as list"),
    (Decimal(1), "Decimal would come back as str"),
    (ID, "UUID would come back as str"),
    (NOON.date(), "date would come back as str"),
    (NOON.replace(tzinfo=None), "datetime would come back as str"),
    (Colour.RED, "Colour would come back as str"),
    (Level.LOW, "Level would come back as int"),
    (Point(1, 2), "Point would come back as list"),
    (Account(ID, Decimal(1)), "Account would come back as dict"),
    (Item("a", Decimal(1)), "Item would come back as dict"),
    (User(id=1, name="Ada"), "User would come back as dict"),
    (OrderedDict(a=1), "OrderedDict would come back as dict"),
    (defaultdict(int), "defaultdict would come back as dict"),
]


@pytest.mark.parametrize("kind", MSGSPEC)
@pytest.mark.parametrize(("value", "change"), UNTYPED, ids=lambda case: label(type(case)))
def test_what_would_change_its_type_is_refused_with_the_fix(kind: type[Serializer], value: Any, change: str) -> None:
    with pytest.raises(EncodeError) as caught:
        kind().dumps(value)
    assert change in str(caught.value)
    assert "annotate the function's return type" in str(caught.value)
    assert "PickleSerializer" in str(caught.value)


def test_json_refuses_keys_and_bytes_that_it_would_change() -> None:
    for value, change in [({1: "a"}, "int would come back as str at $[a key]"), (b"a", "bytes would come back")]:
        with pytest.raises(EncodeError) as caught:
            JsonSerializer().dumps(value)
        assert change in str(caught.value)
    with pytest.raises(EncodeError, match="2 items would come back as 1"):
        JsonSerializer().dumps({1: "a", "1": "b"})


MISFITS: list[tuple[Any, Any]] = [
    (int, "5"),
    (int, True),
    (float, 1),
    (str, Colour.RED),
    (list[str], [enum.StrEnum("Tag", ["A"])("a")]),
    (list[int], [1, True]),
    (list[bytes], [bytearray(b"a")]),
    (list[int], (1, 2)),
    (Sequence[int], (1, 2)),
    (dict[str, int], OrderedDict(a=1)),
    (set[float], {1}),
    (Account, {"id": ID, "balance": Decimal(1)}),
    (Account, Cat(ID, Decimal(1))),
    (Account, Account(str(ID), Decimal(1))),  # type: ignore[arg-type]
    (Account, Account(ID, 1)),  # type: ignore[arg-type]
    (Account, None),
    (Point, (1, 2)),
    (Row, {"id": 1, "when": NOON, "more": 1}),
    (Opaque, Opaque("a", Cat(ID, Decimal(1)))),
    (User, Admin(id=1, name="Ada")),
    (User, {"id": 1, "name": "Ada"}),
    (User, User.model_construct(id="1", name="Ada")),
    (User, User.model_construct(id=True, name="Ada")),
    (list[User], [User(id=1, name="Ada"), Admin(id=2, name="Bo")]),
    (Private, Private(name="a").seen(3)),
]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("annotation", "value"), MISFITS, ids=label)
def test_a_value_that_does_not_fit_its_annotation_is_refused(
    kind: type[TypedSerializer], annotation: Any, value: Any
) -> None:
    with pytest.raises(EncodeError, match="correct the annotation"):
        kind().typed(annotation).dumps(value)


class Unencodable:
    pass


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@dataclass
class Lossy:
    name: str
    secret: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.secret = "made anew"


def test_what_a_class_does_not_restore_is_refused_with_its_path() -> None:
    value = Lossy("a")
    value.secret = "set later"
    for kind in ALL:
        with pytest.raises(EncodeError, match=r"str would come back changed at \$\[0\]\.secret") as caught:
            kind(list[Lossy]).dumps([value])
        assert "set later" not in str(caught.value)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    "value",
    [Unencodable(), endless(), "\ud800", 1j, int, len, {(1, 2): Unencodable()}],
    ids=lambda value: label(type(value)),
)
def test_dumps_raises_nothing_but_encode_error(kind: type[Serializer], value: Any) -> None:
    with pytest.raises(EncodeError):
        kind().dumps(value)


def test_msgpack_refuses_integers_beyond_its_range() -> None:
    for value in (2**64, -(2**63) - 1):
        with pytest.raises(EncodeError, match="serialize ints"):
            MsgpackSerializer().dumps(value)


@pytest.mark.parametrize("annotation", [Unencodable, User | Account, Callable, "User", 5], ids=label)
def test_an_annotation_that_msgspec_cannot_decode_fails_only_when_used(annotation: Any) -> None:
    for kind in MSGSPEC:
        serializer = kind().typed(annotation)
        with pytest.raises(EncodeError, match="PickleSerializer") as caught:
            serializer.dumps(None)
        assert label(annotation).rpartition(".")[2] in str(caught.value)
        with pytest.raises(DecodeError):
            serializer.loads(b"\x01")


def test_pydantic_takes_unions_that_msgspec_does_not() -> None:
    serializer = PydanticSerializer().typed(User | Account)
    for value in (User(id=1, name="Ada"), Account(ID, Decimal(1))):
        assert serializer.loads(serializer.dumps(value)) == value


def test_a_refusal_does_not_repeat_the_value() -> None:
    for kind in ALL:
        with pytest.raises(EncodeError) as caught:
            kind(User).dumps(User.model_construct(id="hunter2", name="Ada"))
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ALL)
def test_loads_raises_nothing_but_decode_error(kind: type[TypedSerializer]) -> None:
    serializer = kind().typed(dict[str, Account | None])
    data = serializer.dumps({"a": Account(ID, Decimal("1.5"), NOON, frozenset({"x"})), "b": None})
    malformed = [b"", b"\xc1", b"{", b"\xff\xfe", data + b"\x00", data + data, b"\x91" * 100_000, b"[" * 100_000]
    for bad in [*malformed, *(data[:length] for length in range(len(data)))]:
        with pytest.raises(DecodeError):
            serializer.loads(bad)
    with pytest.raises(DecodeError):
        serializer.loads(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ALL)
def test_fuzzed_payloads_load_or_are_refused_and_nothing_else(kind: type[TypedSerializer]) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    typed, untyped = kind().typed(Team), kind()
    data = typed.dumps(Team(User(id=1, name="Ada", at=NOON), [User(id=2, name="Bo", tags={"x"})]))
    refused = 0
    for _ in range(3_000):
        bad = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        for serializer in (typed, untyped):
            try:
                serializer.loads(bytes(bad))
            except DecodeError:
                refused += 1
    assert refused > 300


@pytest.mark.parametrize("kind", ALL)
def test_serializers_are_bound_once_per_annotation(kind: Any) -> None:
    serializer = kind()
    assert isinstance(serializer, TypedSerializer)
    assert serializer.typed(list[User]) is serializer.typed(list[User])
    assert type(serializer.typed(list[User])) is kind
    assert repr(serializer.typed(User)) == f"{kind.__name__}(User)"
    assert repr(serializer) == f"{kind.__name__}()"


def test_importing_the_codecs_imports_neither_pydantic_nor_a_client_library() -> None:
    script = (
        "import sys, async_hybrid_cache_codecs as codecs\n"
        "codecs.MsgpackSerializer(list[int]).dumps([1])\n"
        "sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_missing_pydantic_is_named_with_its_extra() -> None:
    script = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from async_hybrid_cache_codecs import CacheError, PydanticSerializer\n"
        "try: PydanticSerializer()\n"
        "except CacheError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "pip install 'async-hybrid-cache[pydantic]'" in done.stdout
