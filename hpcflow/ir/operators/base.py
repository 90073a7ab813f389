"""The base of all operators: what a vertex computes.

Invariant: an operator is a frozen dataclass that pickles; `apply` is a pure function of its inputs and the `TaskInfo`; evaluated on each partition
of inputs that travelled along the edges the API chose, the results concatenated in task order are what Polars gives on the whole input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import polars as pl

from hpcflow.ir.edge_needs import EdgeNeeds
from hpcflow.ir.properties import EdgeProperties


@dataclass(frozen=True)
class TaskInfo:
    """What a task knows about itself while it evaluates operators."""

    index: int
    """Number of the task within its stage; the order of a dataset's rows is (task index, row)."""
    position_start: int | None = None
    """Position of the task's first row in the operator's stored input; None unless the operator asked with `needs_positions`."""
    row_start: int = 0
    """Rows that the task has put out before: not 0 where it works on its partition piece by piece."""
    rank: int = 0
    worker: int = 0
    total_rows: int | None = None
    """Rows of that input in all tasks; known when `position_start` is."""
    step: Any = None
    """Of an operator that runs on all workers at once: `step.call(function)` is `function(context)` as user MPI code (hpcflow/bsp/step.py)."""


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """One operator of the program."""

    name: ClassVar[str]
    """The user's word for it; shown in explain, events and errors."""
    row_wise: ClassVar[bool] = False
    """Each output row depends on one input row only, and filters and projections may move across."""
    needs_positions: ClassVar[bool] = False
    """The planner stores the input first, so that `TaskInfo.position_start` and `total_rows` are known."""
    gathers_rows: ClassVar[bool] = False
    """It picks rows from all over its input, which is several times faster from one chunk than from many."""
    runs_user_code: ClassVar[bool] = False
    """User functions run in it (errors are worded so)."""
    together: ClassVar[bool] = False
    """It has one task a worker, and all of them run at once: its inputs are the workers' shares."""
    whole_partitions: ClassVar[bool] = False
    """Its tasks are the partitions of its inputs: small ones are not put together in one task, large ones not worked on piece by piece."""

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        """Schema of the output, found by running `apply` on empty inputs; Polars words the errors."""
        empty = tuple(pl.LazyFrame(schema=schema) for schema in inputs)
        return self.apply(empty, TaskInfo(index=0, position_start=0, total_rows=0)).collect_schema()

    @abstractmethod
    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        """The operator on one partition of each input."""

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...] | None:
        """Columns of each input that are needed for the `needed` columns of the output; None: all of them."""
        return None

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        """What the edge into input `index` has to do for `apply` to be right; `edges` and `inputs` are the properties and schemas of all of them."""
        return EdgeNeeds()

    @property
    def deterministic(self) -> bool:
        """Same input, same output: may be merged with an equal operator or run again."""
        return True

    def describe(self) -> str:
        """The arguments in one line, for explain."""
        shown = []
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, pl.Expr) or not (value is None or value is False or value == ()):
                shown.append(f"{f.name}={brief(value)}")
        return ", ".join(shown)

    def fingerprint(self) -> object:
        """Equal for two operators that compute the same (common subexpression elimination); unequal when in doubt."""
        return (type(self), *(fingerprint_of(getattr(self, f.name)) for f in fields(self)))


def brief(value: Any, limit: int = 160) -> str:
    """A short text for a field's value; expressions as Polars prints them."""
    if isinstance(value, pl.Expr):
        text = " ".join(str(value).split())
    elif isinstance(value, tuple | list):
        text = "[" + ", ".join(brief(item, limit) for item in value) + "]"
    elif callable(value):
        text = getattr(value, "__qualname__", type(value).__name__)
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def fingerprint_of(value: Any) -> object:
    """A hashable that is equal for equal values; identity where equality is not known."""
    if isinstance(value, pl.Expr):
        try:
            return value.meta.serialize(format="binary")
        except Exception:  # Python functions inside: equal only to itself
            return id(value)
    if isinstance(value, tuple | list):
        return tuple(fingerprint_of(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, fingerprint_of(item)) for key, item in value.items())
    if isinstance(value, str | int | float | bool | bytes | type(None)):
        return (type(value).__name__, value)
    if isinstance(value, pl.DataType):
        return str(value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def root_names(expressions: Iterable[pl.Expr]) -> frozenset[str]:
    """Names of the input columns that these expressions read."""
    return frozenset(name for expression in expressions for name in expression.meta.root_names())
