"""Values of every kind that a function may return."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, computed_field
from typing_extensions import TypedDict  # what pydantic asks for below Python 3.12

NOON = datetime(2024, 5, 6, 12, 30, 15, 123456, tzinfo=UTC)
ID = UUID("6f2f7c1e-6f64-4c4c-8a07-0b6a0d3f2b11")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


class Row(TypedDict):
    id: int
    when: datetime


@dataclass
class Account:
    id: UUID
    balance: Decimal
    seen: datetime | None = None
    tags: frozenset[str] = frozenset()


@dataclass(eq=False)
class Opaque:
    name: str
    inner: Account | None = None


@dataclass
class Cat(Account):
    lives: int = 9


class Item(msgspec.Struct):
    name: str
    price: Decimal


class Bare(msgspec.Struct, eq=False):
    name: str


class User(BaseModel):
    id: int
    name: str
    at: datetime | None = None
    price: Decimal = Decimal(0)
    tags: set[str] = Field(default_factory=set)


class Admin(User):
    level: int = 1


class Aliased(BaseModel):
    user_id: int = Field(validation_alias="userId")
    name: str = Field(alias="fullName")
    old: int = Field(default=1, deprecated="use name")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    on: date
    pair: tuple[int, ...]
    id: UUID


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    side: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> float:
        return self.side**2


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Numbers(RootModel[list[int]]):
    pass


class Private(BaseModel):
    name: str
    _seen: int = PrivateAttr(default=0)

    def seen(self, count: int) -> Private:
        self._seen = count
        return self


@dataclass
class Team:
    head: User | None
    members: list[User]
