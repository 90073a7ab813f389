"""Distinct rows."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from hpcflow.ir.operators.base import Operator, TaskInfo


@dataclass(frozen=True, eq=False)
class Unique(Operator):
    """Rows that are distinct in `subset` (all columns when None); equal rows are in one partition, in their original order."""

    subset: tuple[str, ...] | None
    keep: str = "any"
    maintain_order: bool = False
    name = "unique"

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        subset = None if self.subset is None else list(self.subset)
        return inputs[0].unique(subset, keep=self.keep, maintain_order=self.maintain_order)  # type: ignore[arg-type]

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...] | None:
        return None if self.subset is None else (needed | set(self.subset),)

    @property
    def can_run_twice(self) -> bool:
        """Whether a partition's distinct rows may be found before the shuffle too."""
        return self.keep in ("any", "first", "last")
