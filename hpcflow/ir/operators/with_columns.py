"""Add or replace columns, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.edge_needs import EdgeNeeds, rows_that_meet
from hpcflow.ir.operators.base import Operator, TaskInfo, root_names
from hpcflow.ir.properties import EdgeProperties, Pattern, SortKey


@dataclass(frozen=True, eq=False)
class WithColumns(Operator):
    """Row-wise expressions with one output each."""

    expressions: tuple[pl.Expr, ...]
    name = "with_columns"
    row_wise = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].with_columns(self.expressions)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        made = {e.meta.output_name() for e in self.expressions}
        read = root_names(e for e in self.expressions if e.meta.output_name() in needed)
        return ((needed - made) | read or frozenset(list(inputs[0])[:1]),)

    def narrowed(self, needed: frozenset[str]) -> WithColumns:
        """The same addition of only the `needed` outputs."""
        return WithColumns(tuple(e for e in self.expressions if e.meta.output_name() in needed))


@dataclass(frozen=True, eq=False)
class WithScalars(Operator):
    """Add the columns of a one-row table (input 1, broadcast) to every row of input 0."""

    name = "with_scalars"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        row = inputs[1].collect()
        if row.height == 0:  # only while the schema is inferred
            return inputs[0].with_columns(pl.lit(None, dtype=dtype).alias(name) for name, dtype in row.schema.items())
        return inputs[0].with_columns(pl.lit(column).first().alias(column.name) for column in row.get_columns())

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed & set(inputs[0]) or frozenset(list(inputs[0])[:1]), frozenset(inputs[1]))

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return EdgeNeeds() if index == 0 else EdgeNeeds((Pattern.BROADCAST,), "every task has to see the one row")


@dataclass(frozen=True, eq=False)
class WindowColumns(Operator):
    """`.over(keys)` expressions, once all rows of a key are in one partition in their original order."""

    keys: tuple[pl.Expr, ...]
    expressions: tuple[pl.Expr, ...]
    name = "over"
    gathers_rows = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].with_columns(self.expressions)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return rows_that_meet(self.keys, reads_order=True)


@dataclass(frozen=True, eq=False)
class WithOrigin(Operator):
    """Add column `column`: (task index << 40) | row, the place to which `ReturnToOrigin` brings the row back."""

    column: str
    name = "with_origin"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].with_columns(pl.int_range(pl.len(), dtype=pl.Int64).add((task.index << 40) + task.row_start).alias(self.column))


@dataclass(frozen=True, eq=False)
class ReturnToOrigin(Operator):
    """Sort one partition by the origin column and drop it; partitions are ranges of the origin."""

    column: str
    name = "return_to_origin"
    gathers_rows = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].sort(self.column).drop(self.column)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        order = (SortKey(pl.col(self.column)),)
        return EdgeNeeds((Pattern.RANGE_SHUFFLE, Pattern.GATHER), "tasks have to be ranges of the rows' places", order=order)
