"""Distinct rows."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.edge_needs import EdgeNeeds, rows_that_meet
from hpcflow.ir.operators.base import Operator, TaskInfo
from hpcflow.ir.properties import EdgeProperties


@dataclass(frozen=True, eq=False)
class Unique(Operator):
    """Rows that are distinct in `subset` (all columns when None); equal rows are in one partition, in their original order."""

    subset: tuple[str, ...] | None
    keep: str = "any"
    maintain_order: bool = False
    partial: bool = False
    """Of each task by itself: another one behind it sees what is left of all of them."""
    name = "unique"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        subset = None if self.subset is None else list(self.subset)
        return inputs[0].unique(subset, keep=self.keep, maintain_order=self.maintain_order)  # type: ignore[arg-type]

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...] | None:
        return None if self.subset is None else (needed | set(self.subset),)

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        reads = self.keep in ("first", "last")
        if self.partial:
            return EdgeNeeds(reads_order=reads)
        return rows_that_meet(tuple(map(pl.col, inputs[index] if self.subset is None else self.subset)), reads)

    @property
    def can_run_twice(self) -> bool:
        """Whether a partition's distinct rows may be found before the shuffle too."""
        return self.keep in ("any", "first", "last")
