"""Functions and classes that the tests configure."""

from __future__ import annotations

import collections
import dataclasses
import enum
import os  # noqa: F401 (a file must not reach os.system through this module)
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Protocol, TypedDict

import annotated_types
import pydantic

from hpcflow.launch import Config, Secret

if TYPE_CHECKING:
    from nowhere import Unknown


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


class Size(NamedTuple):
    width: int
    height: int


@dataclasses.dataclass
class Optimizer:
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    name: str = "adam"


@dataclasses.dataclass
class Model:
    hidden: Annotated[int, annotated_types.Ge(1)] = 64
    activation: Literal["relu", "gelu"] = "relu"
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    layers: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Checked:
    ratio: float = 0.5

    def __post_init__(self) -> None:
        self.ratio = float(self.ratio)


class Plain:
    def __init__(self, x: int, *rest: int, tag: str = "") -> None:
        self.x, self.rest, self.tag = x, rest, tag

    def method(self) -> int:
        return self.x


class Records(pydantic.BaseModel):
    count: int = 1


def adam(lr: float = 1e-3) -> Optimizer:
    return Optimizer(lr)


def unannotated(x=1):  # type: ignore[no-untyped-def]
    return x


def everything(
    i: int = 0,
    f: float = 0.0,
    b: bool = False,
    s: str = "",
    o: int | None = None,
    e: Color = Color.RED,
    p: Path = Path("x"),
    ii: list[int] = [],  # noqa: B006
    nested: dict[str, list[Optimizer]] | None = None,
    pair: tuple[int, str] = (0, ""),
    many: tuple[float, ...] = (),
    kinds: set[str] = frozenset(),  # type: ignore[assignment]
    size: Size = Size(1, 2),
    call: Callable[[int], Optimizer] | None = None,
    kind: type[Optimizer] = Optimizer,
    model: Model | None = None,
    bounded: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1)] = 0.5,
    field: Annotated[int, pydantic.Field(ge=0, multiple_of=8)] = 8,
    word: Annotated[str, pydantic.Field(pattern="^[a-z]+$", max_length=4)] = "abc",
    union: int | str = 0,
    anything: Any = None,
    plain: Plain | None = None,
    records: Records | None = None,
    checked: Checked | None = None,
) -> dict[str, Any]:
    return dict(locals())


def partly_known(known: int = 1, unknown: Unknown = None) -> int:  # type: ignore[assignment]
    return known


def train(model: Model, lr: float, *, steps: int = 100, callbacks: list[Callable[[], None]] | None = None) -> float:
    return model.hidden * lr * steps


def connect(user: str, token: str, reference: Secret | None = None) -> tuple[str, str, Secret | None]:
    return user, token, reference


def anywords(first: int = 1, **options: int) -> dict[str, int]:
    return {"first": first, **options}


class Options(TypedDict):
    depth: int
    label: NotRequired[str]


class Runs(Protocol):
    def method(self) -> int: ...


UserId = NewType("UserId", int)


def kinds(
    options: Options | None = None,
    runs: Runs | None = None,
    user: UserId = UserId(1),
    counts: collections.defaultdict[str, int] | None = None,
    queue: collections.deque[int] | None = None,
    words: Sequence[str] = (),
    items: Iterable[int] = (),
    wanted: Config[Plain] | None = None,
    cells: list[Annotated[int, annotated_types.Ge(0)]] | None = None,
) -> dict[str, Any]:
    return dict(locals())


def positional(a: int, b: int = 2, /, c: int = 3, *rest: int, d: int = 4) -> tuple[int, ...]:
    return (a, b, c, *rest, d)


def diff(clone: int = 1, diff: int = 2) -> int:
    return clone + diff


def failing(x: int = 1) -> int:
    raise RuntimeError("cannot")


def wrong_kind(x: int = 1):  # type: ignore[no-untyped-def]
    return "no optimizer"
