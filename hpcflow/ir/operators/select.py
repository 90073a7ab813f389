"""Compute the columns of the output from the columns of the input, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.edge_needs import EdgeNeeds, all_rows_in_one_task
from hpcflow.ir.operators.base import Operator, TaskInfo, root_names
from hpcflow.ir.properties import EdgeProperties


@dataclass(frozen=True, eq=False)
class Select(Operator):
    """Row-wise expressions with one output each; as many rows out as in, also without expressions: a table without columns has a height."""

    expressions: tuple[pl.Expr, ...]
    name = "select"
    row_wise = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].select(self.expressions) if self.expressions else inputs[0].drop(pl.selectors.all())

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        read = root_names(self.narrowed(needed).expressions)
        # A selection of literals still needs the number of rows.
        return (read or frozenset(list(inputs[0])[:1]),)

    def narrowed(self, needed: frozenset[str]) -> Select:
        """The same selection of only the `needed` outputs, and of one more where these are literals, which alone would be one row."""
        kept = tuple(e for e in self.expressions if e.meta.output_name() in needed)
        if not root_names(kept):
            kept += tuple(e for e in self.expressions if e.meta.root_names() and e.meta.output_name() not in needed)[:1]
        return Select(kept or self.expressions[:1])


@dataclass(frozen=True, eq=False)
class SelectWhole(Operator):
    """Expressions that need all rows in one place (one partition): aggregates, or length-changing expressions."""

    expressions: tuple[pl.Expr, ...]
    partial: bool = False
    """Rows dropped or repeated one by one: right on each task by itself."""
    name = "select whole"
    gathers_rows = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].select(self.expressions)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (root_names(self.expressions) or frozenset(list(inputs[0])[:1]),)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        return EdgeNeeds() if self.partial else all_rows_in_one_task()
