"""A vertex of a task graph drawn by hand: a user's function on the whole partitions that reach one task.

Invariant: a vertex of `parallelism` P has tasks 0..P-1 on any number of workers, and task i reads partition i of each of its inputs as one table (of
a broadcast input all rows): the function is called at most once a task, and never when all its tables are empty.

    TaskFunction("clean", function, schema, parallelism=4)     # function(table) -> table, or any iterable of tables
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from hpcflow.ir.edge_needs import EVERY_ROW_ONCE, EdgeNeeds
from hpcflow.ir.operators.base import Operator, TaskInfo, brief
from hpcflow.ir.operators.map_batches import Format, conform, from_format, to_format
from hpcflow.ir.properties import EdgeProperties, Pattern


@dataclass(frozen=True)
class GraphTask:
    """What a function of a graph may know of its task."""

    vertex: str
    """Name of the vertex."""
    index: int
    """Number of the task, from 0."""
    parallelism: int
    """Tasks of the vertex; 0 where the engine decides (a dataset's own tasks)."""


@dataclass(frozen=True, eq=False)
class TaskFunction(Operator):
    """`function(*tables) -> table`; no function: the rows as they are."""

    title: str
    """Name of the vertex, the user's."""
    function: Callable[..., Any] | None
    schema: pl.Schema
    """Of the result."""
    parallelism: int | None
    """Tasks; None: those of the input, which the engine made."""
    format: Format = "polars"
    inputs_count: int = 1
    with_task: bool = False
    """The function's first argument is its `GraphTask`."""
    hidden: tuple[str, ...] = ()
    """Columns that brought rows to their task, dropped here."""
    ticks: bool = False
    """Input 0 has one row a task and only makes the tasks: all other inputs are broadcast."""
    runs_user_code = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.title)  # in plans, events and errors a vertex has the name that the user gave it

    @property
    def whole_partitions(self) -> bool:  # type: ignore[override]
        return self.parallelism is not None

    def output_schema(self, inputs: tuple[pl.Schema, ...]) -> pl.Schema:
        return self.schema

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        given = inputs[1:] if self.ticks else inputs
        tables = [frame.drop(self.hidden, strict=False).collect() for frame in given]
        if self.function is None:
            return tables[0].lazy()
        if not any(table.height for table in tables):
            return pl.LazyFrame(schema=self.schema)
        place = (GraphTask(self.title, task.index, self.parallelism or 0),) if self.with_task else ()
        result = self.function(*place, *(to_format(table, self.format) for table in tables))
        return put_together(result, self.schema, self.title).lazy()

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return EdgeNeeds((*EVERY_ROW_ONCE, Pattern.BROADCAST), "a task reads partitions of its inputs, or all rows of one")

    @property
    def deterministic(self) -> bool:
        return self.function is None

    def describe(self) -> str:
        parts = [] if self.function is None else [brief(self.function)]
        if self.parallelism is not None:
            parts.append(f"{self.parallelism} task{'s' if self.parallelism > 1 else ''}")
        return ", ".join(parts)


def put_together(result: Any, schema: pl.Schema, title: str) -> pl.DataFrame:
    """A function's result as one table of `schema`: None is no rows, an iterator gives tables one after another. SchemaError for anything else."""
    if result is None:
        return pl.DataFrame(schema=schema)
    if isinstance(result, Iterator):
        return pl.concat([pl.DataFrame(schema=schema), *(conform(from_format(part, title, schema), schema, title) for part in result)])
    return conform(from_format(result, title, schema), schema, title)
