"""What a program is, whenever it was written: two Dags with equal `Program.key` are compiled to the same plan.

Invariant: everything that decides the plan is in the key. What differs from one writing of a program to the next is not: vertex ids, the names under
which datasets are cached, the rows of tables that the driver holds. These are listed beside it, in an order that the key fixes.

    program_of(dag, sinks, cached).key      # ((operator, ((input, edge), ...), properties), ...), (sink, ...)

Expressions count by what they say, file sources and user functions by identity: a function may read variables that change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

import polars as pl

from hpcflow.ir.dag import Dag, Vertex
from hpcflow.ir.operators.concat import Cache, ReadCache
from hpcflow.ir.operators.from_memory import FromMemory
from hpcflow.ir.operators.range import Range
from hpcflow.ir.operators.source import Source


@dataclass(frozen=True, eq=False)
class Program:
    """A Dag seen as a program."""

    key: object
    """Hashable."""
    tables: tuple[tuple[int, FromMemory], ...]
    """(vertex, table) of each source that the driver holds."""
    caches: tuple[str, ...]
    """Keys of the cached datasets that are read or filled."""
    pinned: tuple[object, ...]
    """Objects that the key knows by identity: they have to live as long as it."""
    runs_user_code: bool
    """Functions of the user run in it, which may see other variables the next time."""


def program_of(dag: Dag, sinks: Iterable[int], cached: Mapping[str, Any]) -> Program:
    """The program of `dag`; `cached`: what the compiler knows of each dataset that is on the workers (hashable)."""
    reader = _Reader(cached)
    place: dict[int, int] = {}
    vertices = []
    for vertex in dag.topological():
        place[vertex.id] = len(place)
        inputs = tuple((place[edge.source], reader.value(edge.properties)) for edge in dag.inputs(vertex.id))
        vertices.append((reader.operator(vertex), inputs, reader.value(vertex.properties)))
    key = (tuple(vertices), tuple(place[sink] for sink in sinks))
    return Program(key, tuple(reader.tables), tuple(reader.caches), tuple(reader.pinned), reader.runs_user_code)


@dataclass
class _Reader:
    """Turns what a Dag holds into hashables, and notes what is left out of them."""

    cached: Mapping[str, Any]
    tables: list[tuple[int, FromMemory]] = field(default_factory=list)
    caches: dict[str, int] = field(default_factory=dict)
    frames: dict[int, int] = field(default_factory=dict)
    pinned: list[object] = field(default_factory=list)
    runs_user_code: bool = False

    def operator(self, vertex: Vertex) -> object:
        operator = vertex.operator
        self.runs_user_code = self.runs_user_code or operator.runs_user_code
        if isinstance(operator, Cache | ReadCache):
            number = self.caches.setdefault(operator.key, len(self.caches))
            held = (self.value(vertex.schema), self.value(self.cached.get(operator.key)), self.value(getattr(operator, "blocks", None)))
            return (type(operator), number, *held)
        if isinstance(operator, FromMemory):
            self.tables.append((vertex.id, operator))
            number = self.frames.setdefault(id(operator.frame), len(self.frames))
            return (FromMemory, number, self.value(operator.schema), (operator.statistics().size_bytes or 0).bit_length())
        if isinstance(operator, Source) and not isinstance(operator, Range):
            return self.same(operator)
        return (type(operator), *(self.value(getattr(operator, f.name)) for f in fields(operator)))

    def value(self, value: Any) -> object:
        if value is None or isinstance(value, str | int | float | bool | bytes | Enum):
            return (type(value).__name__, value)
        if isinstance(value, pl.Expr):
            return self.expression(value)
        if isinstance(value, tuple | list):
            return (type(value).__name__, *map(self.value, value))
        if isinstance(value, frozenset | set):
            return frozenset(map(self.value, value))
        if isinstance(value, dict):
            return tuple((key, self.value(item)) for key, item in value.items())
        if isinstance(value, pl.DataType) or (isinstance(value, type) and issubclass(value, pl.DataType)):
            return str(value)
        if is_dataclass(value) and not isinstance(value, type):
            return (type(value), *(self.value(getattr(value, f.name)) for f in fields(value)))
        self.runs_user_code = self.runs_user_code or callable(value)
        return self.same(value)

    def expression(self, value: pl.Expr) -> object:
        try:
            written = value.meta.serialize(format="binary")
        except Exception:
            written = None
        if written is None or b"AnonymousFunction" in written:
            self.runs_user_code = True
            return self.same(value)
        return written

    def same(self, value: object) -> object:
        """Equal to itself only."""
        self.pinned.append(value)
        return ("identity", id(value))
