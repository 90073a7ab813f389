"""Keep the rows for which a predicate is true."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.operators.base import Operator, TaskInfo, root_names


@dataclass(frozen=True, eq=False)
class Filter(Operator):
    """`predicate` is one row-wise Boolean expression; null counts as false."""

    predicate: pl.Expr
    name = "filter"
    row_wise = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        return inputs[0].filter(self.predicate)

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        return (needed | root_names([self.predicate]),)
