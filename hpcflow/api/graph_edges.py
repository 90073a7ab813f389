"""The edges of a task graph drawn by hand, and what they become in the IR.

    direct             one-to-one            (beside another input: a shuffle by task number, so that task i of both meet)
    partition          round robin x P       keyed_partition   hash shuffle(by) x P
    broadcast          broadcast             keyed_reduce      group_by(by) with P partitions, aggregated before and after it
    allgather          broadcast             keyed_gather      group_by(by).all() with P partitions
    gather             one partition         keyed_direct      group_by(by).all() within each task
    reduce             f, one partition, f   allreduce         reduce, then broadcast

Invariant: an edge into a vertex of P tasks makes P partitions (gather and reduce: one), in an order that is the same on any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from hpcflow.api import building
from hpcflow.api.building import Input
from hpcflow.api.group_by import GroupBy
from hpcflow.api.schemas import polars_errors
from hpcflow.arguments import checked
from hpcflow.errors import ConfigError
from hpcflow.expressions import plan_expressions
from hpcflow.ir.operators.map_batches import Format
from hpcflow.ir.operators.task_function import TaskFunction
from hpcflow.ir.properties import EdgeProperties, Pattern

if TYPE_CHECKING:
    from hpcflow.api.dataset import Dataset
    from hpcflow.api.graph_vertex import GraphVertex

TO_ALL: Final = ("broadcast", "allgather", "allreduce")
"""Kinds that bring all rows to every task, so that they say nothing of how many tasks there are."""
TO_ONE: Final = ("gather", "reduce")
IN_PLACE: Final = ("direct", "keyed_direct")
TASK_BITS: Final = 40  # of an origin column, see `building.with_origin`


@checked
@dataclass(frozen=True)
class GraphEdge:
    """How the rows of a vertex reach another one; made by the methods of `GraphVertex`."""

    source: GraphVertex
    kind: str
    by: tuple[pl.Expr, ...] = ()
    reducer: Callable[[Any], Any] | tuple[pl.Expr, ...] | None = None
    """Reduce: a function of a table that holds several results of itself, or aggregations."""
    format: Format = "polars"
    """Of the tables that a reducing function is given."""
    properties: Mapping[str, Any] = field(default_factory=dict)

    def with_property(self, **properties: Any) -> GraphEdge:
        """Execution properties of the edge: compression, transport, data_flow, data_store, persistence, ordered.

        Raises:
            ConfigError: for those that its kind decides.
        """
        if own := [name for name in properties if name in building.OF_A_GRAPH]:
            raise ConfigError(f"{', '.join(own)} of an edge of a graph is what its kind ({self.kind}) and the parallelism of its vertices say")
        EdgeProperties().with_user_choice(**properties)
        return replace(self, properties={**self.properties, **properties})

    def __str__(self) -> str:
        keys = f"({', '.join(' '.join(str(key).split()) for key in self.by)})" if self.by else ""
        return f"{self.source.name} --{self.kind}{keys}-->"


@dataclass(frozen=True)
class Lowered:
    """An edge as the input of a vertex."""

    input: Input
    hidden: str | None = None
    """A column that brings rows to their task, to be dropped there."""


def lower(edge: GraphEdge, tasks: int | None, alone: bool) -> Lowered:
    """`edge` into a vertex of `tasks` tasks; alone: it is the one input that decides which task does what (the others go to all of them)."""
    dataset, choice = edge.source.rows, dict(edge.properties)
    if edge.kind in IN_PLACE:
        if edge.kind == "keyed_direct":
            dataset = GroupBy(dataset, list(edge.by), False, {"pattern": Pattern.ONE_TO_ONE, "keys": ()}).all()
        return _same_task(dataset, tasks, alone, choice)
    if edge.kind in ("broadcast", "allgather"):
        return Lowered(Input(dataset, _moving(Pattern.BROADCAST, choice)))
    if edge.kind == "allreduce":
        return Lowered(Input(_reduced(edge, Pattern.GATHER, {}), _moving(Pattern.BROADCAST, choice)))
    if edge.kind in TO_ONE:
        # Inputs of one task must meet on one worker: partition 0 of a round robin is always on the first, a gather's worker changes.
        pattern, count = (Pattern.GATHER, {}) if alone else (Pattern.ROUND_ROBIN, {"partition_count": 1})
        if edge.kind == "gather":
            return Lowered(Input(dataset, _moving(pattern, choice | count)))
        return Lowered(Input(_reduced(edge, pattern, choice | count), EdgeProperties()))
    counted = choice | {"partition_count": tasks}
    if edge.kind == "partition":
        return Lowered(Input(dataset, _moving(Pattern.ROUND_ROBIN, counted)))
    if edge.kind == "keyed_partition":
        keys = tuple(building.row_wise(dataset, list(edge.by), edge.kind))
        return Lowered(Input(dataset, _moving(Pattern.HASH_SHUFFLE, counted, keys=keys)))
    return Lowered(Input(_keyed(edge, counted), EdgeProperties()))


def _moving(pattern: Pattern, choice: Mapping[str, Any], keys: tuple[pl.Expr, ...] = ()) -> EdgeProperties:
    """Properties that no pass may change: the graph was drawn by hand."""
    chosen: EdgeProperties = EdgeProperties(pattern=pattern, keys=keys).with_user_choice(pattern=pattern, **choice)
    return chosen


def _same_task(dataset: Dataset, tasks: int | None, alone: bool, choice: Mapping[str, Any]) -> Lowered:
    if alone:
        return Lowered(Input(dataset, EdgeProperties().with_user_choice(**choice) if choice else EdgeProperties()))
    column = building.fresh_name("task")
    marked = building.with_origin(dataset, column)
    edge = EdgeProperties(pattern=Pattern.USER_SHUFFLE, function=Column(column, 1 << TASK_BITS))
    return Lowered(Input(marked, edge.with_user_choice(pattern=Pattern.USER_SHUFFLE, partition_count=tasks, **choice)), column)


@dataclass(frozen=True)
class Column:
    """A partitioner: the column, divided, says it."""

    name: str
    divisor: int = 1

    def __call__(self, df: pl.DataFrame) -> pl.Series:
        return df[self.name] // self.divisor


def _reduced(edge: GraphEdge, pattern: Pattern, choice: Mapping[str, Any]) -> Dataset:
    """One task with what is left of the rows of all tasks."""
    dataset = edge.source.rows
    if not callable(edge.reducer):
        one_row = building.select(dataset, list(edge.reducer or ()))
        return one_row if pattern is Pattern.GATHER else one_row._then(_function(edge, 1, one_row.schema), _moving(pattern, choice))
    there = dataset._then(_function(edge, edge.source.parallelism, dataset.schema))
    return there._then(_function(edge, 1, dataset.schema), _moving(pattern, choice))


def _keyed(edge: GraphEdge, choice: Mapping[str, Any]) -> Dataset:
    dataset = edge.source.rows
    if callable(edge.reducer):
        keys = tuple(building.row_wise(dataset, list(edge.by), edge.kind))
        there = dataset._then(_function(edge, edge.source.parallelism, dataset.schema))
        return there._then(_function(edge, choice["partition_count"], dataset.schema), _moving(Pattern.HASH_SHUFFLE, choice, keys))
    groups = GroupBy(dataset, list(edge.by), False, {"pattern": Pattern.HASH_SHUFFLE, **choice})
    grouped = groups.all() if edge.kind == "keyed_gather" else groups.agg(*(edge.reducer or ()))
    return grouped._then(
        _function(edge, choice["partition_count"], grouped.schema)
    )  # holds its stage to a task a partition, where two edges share it


def _function(edge: GraphEdge, tasks: int | None, schema: pl.Schema) -> TaskFunction:
    function = edge.reducer if callable(edge.reducer) else None
    return TaskFunction(f"{edge.source.name}.{edge.kind}", function, schema, tasks, edge.format)


def check_reducer(edge: GraphEdge) -> None:
    """Refuses aggregations that give more than one row in all, when the edge is drawn."""
    if edge.kind not in ("reduce", "allreduce") or callable(edge.reducer):
        return
    schema = edge.source.rows.schema
    with polars_errors(schema):
        if not plan_expressions(list(edge.reducer or ()), schema, "select").one_row:
            shown = ", ".join(" ".join(str(one).split()) for one in edge.reducer or ())
            raise ConfigError(f"{edge.kind}({shown}) does not give one row; give aggregations, such as pl.col('x').sum(), or a function of a table")
