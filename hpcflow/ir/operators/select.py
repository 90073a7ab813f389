"""Compute the columns of the output from the columns of the input, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.operators.base import Operator, TaskInfo, root_names


@dataclass(frozen=True, eq=False)
class Select(Operator):
    """Row-wise expressions with one output each; as many rows out as in."""

    expressions: tuple[pl.Expr, ...]
    name = "select"
    row_wise = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].select(self.expressions)

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
    name = "select whole"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].select(self.expressions)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (root_names(self.expressions) or frozenset(list(inputs[0])[:1]),)
