"""The steps of an expression plan: what an engine runs, in order, before the last row-wise step.

Invariant: the expressions of a step use only columns of the input and of earlier steps, and each makes new columns (`__agg_i`, `__win_i`) that are
full-length after the step: an aggregate is the same value in every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from hpcflow.expressions.decompose import GroupDecomposition


@dataclass(frozen=True)
class AggregateStep:
    """Values of all rows, broadcast to all partitions as columns.

    aggregates: each gives one value; named `__agg_i`.
    combined: how those that decompose are made of partials, aligned with `aggregates` (`combined.final[i]` is None for one that needs all rows in
    one place, in order).
    """

    aggregates: tuple[pl.Expr, ...]
    combined: GroupDecomposition

    @property
    def gathered(self) -> tuple[pl.Expr, ...]:
        """The aggregates that need all rows in one place (median, n_unique, quantile, ...)."""
        return tuple(one for one, final in zip(self.aggregates, self.combined.final, strict=True) if final is None)

    @property
    def combinable(self) -> tuple[pl.Expr, ...]:
        """The aggregates that are combined from partials."""
        return tuple(one for one, final in zip(self.aggregates, self.combined.final, strict=True) if final is not None)


@dataclass(frozen=True)
class WindowStep:
    """Windows over the same keys: `with_columns(windows)` on partitions that hold whole keys, rows in their original order; afterwards rows go back
    to their places.

    keys: row-wise expressions (a plain column where the user wrote one); equal keys, nulls among them, must meet in one partition.
    windows: complete `.over()` expressions, named `__win_i`.
    """

    keys: tuple[pl.Expr, ...]
    windows: tuple[pl.Expr, ...]


Step = AggregateStep | WindowStep
Context = Literal["select", "with_columns", "filter"]


@dataclass(frozen=True)
class ExpressionPlan:
    """Steps, then `final` row-wise expressions in `context`.

    one_row: a select of aggregates and literals only: run `final` once, on the one row of the aggregates' columns.
    length_changing: a select whose only expression drops or explodes rows; it may run partition by partition but its row count is its own.
    gathered: a select of values that only all rows give (`v.unique()`, `v.head(2)`): run `final` on all rows in one place.
    """

    context: Context
    steps: tuple[Step, ...]
    final: tuple[pl.Expr, ...]
    one_row: bool = False
    length_changing: bool = False
    gathered: bool = False

    @property
    def row_wise(self) -> bool:
        """True when no step is needed: `final` is the program's own expressions."""
        return not self.steps and not self.one_row and not self.gathered

    def describe(self) -> str:
        """One line a step, for explain."""
        lines = ["gather all rows"] if self.gathered else []
        for step in self.steps:
            if isinstance(step, WindowStep):
                lines.append(f"windows over [{', '.join(map(str, step.keys))}]: {', '.join(map(str, step.windows))}")
            else:
                lines += [f"combine {', '.join(map(str, step.combinable))}"] if step.combinable else []
                lines += [f"gather all rows for {', '.join(map(str, step.gathered))}"] if step.gathered else []
        return "\n".join([*lines, f"{self.context} [{', '.join(map(str, self.final))}]"])
