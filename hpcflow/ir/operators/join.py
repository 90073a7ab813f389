"""Join two tables whose matching rows are in the same partition, or of which one is broadcast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from hpcflow.expressions import common_key_types
from hpcflow.ir.edge_needs import EdgeNeeds
from hpcflow.ir.operators.base import Operator, TaskInfo, root_names
from hpcflow.ir.properties import EdgeProperties, Pattern

BROADCAST_SIDES = {"inner": (0, 1), "cross": (0, 1), "left": (1,), "semi": (1,), "anti": (1,), "right": (0,), "full": ()}
"""Inputs that every task may see whole: an unmatched row of the other sides must be seen once."""


@dataclass(frozen=True, eq=False)
class Join(Operator):
    """Polars' join with its null, type and suffix rules."""

    how: str
    left_on: tuple[pl.Expr, ...]
    right_on: tuple[pl.Expr, ...]
    suffix: str = "_right"
    nulls_equal: bool = False
    coalesce: bool | None = None
    validate: str = "m:m"
    maintain_order: str | None = None
    name = "join"
    gathers_rows = True

    def apply(self, inputs: tuple[pl.LazyFrame, ...], task: TaskInfo) -> pl.LazyFrame:
        left, right = inputs
        how: Any = self.how
        if self.how == "cross":
            return left.join(right, how="cross", suffix=self.suffix)
        return left.join(
            right,
            left_on=list(self.left_on),
            right_on=list(self.right_on),
            how=how,
            suffix=self.suffix,
            nulls_equal=self.nulls_equal,
            coalesce=self.coalesce,
            validate=self.validate,  # type: ignore[arg-type]
            maintain_order=self.maintain_order,  # type: ignore[arg-type]
        )

    def required_columns(self, needed: frozenset[str], inputs: tuple[pl.Schema, ...]) -> tuple[frozenset[str], ...]:
        left, right = inputs
        shown = self._shown_of_left(left)
        from_left = {name for name in needed if name in shown}
        from_right = root_names(self.right_on) | {name for name in right if (name + self.suffix if name in shown else name) in needed}
        if self.how not in ("semi", "anti"):
            from_left |= {name for name in from_right if name in shown}  # while they are there, the right ones have the suffix and no other name
        lefts = frozenset(from_left) | root_names(self.left_on)
        return (lefts or frozenset(list(left)[:1]), frozenset(from_right) or frozenset(list(right)[:1]))

    @property
    def broadcast_sides(self) -> tuple[int, ...]:
        """Inputs that every task may see whole: those of the kind of join, less those beside which the other input's keys are to be unique, which no
        task could tell of its part."""
        unique = {"1:1": (0, 1), "1:m": (0,), "m:1": (1,)}.get(self.validate, ())
        return tuple(side for side in BROADCAST_SIDES[self.how] if 1 - side not in unique)

    def _shown_of_left(self, left: pl.Schema) -> frozenset[str]:
        """Columns of the left side that the result has by their names: all but the keys that a right join leaves to the right side."""
        coalesces = self.how == "right" and self.coalesce is not False and all(key.meta.is_column() for key in (*self.left_on, *self.right_on))
        return frozenset(left) - (root_names(self.left_on) if coalesces else frozenset())

    def edge_needs(self, index: int, edges: tuple[EdgeProperties, ...], inputs: tuple[pl.Schema, ...]) -> EdgeNeeds:
        other = edges[1 - index].pattern
        if other is Pattern.BROADCAST:
            return EdgeNeeds(why="the other input goes to every task, so that each row of this one has to come to exactly one")
        broadcast = (Pattern.BROADCAST,) if index in self.broadcast_sides else ()
        if self.how == "cross":
            return EdgeNeeds(broadcast, "one of the inputs has to go to every task")
        left, right = inputs
        keys = common_key_types(left, right, self.left_on, self.right_on)[index]
        why = "rows with equal keys of both inputs have to meet in one task" + (", or the whole input goes to every task" if broadcast else "")
        return EdgeNeeds((Pattern.HASH_SHUFFLE, *broadcast, Pattern.ONE_TO_ONE), why, tuple(keys), in_step=True)

    def describe(self) -> str:
        if self.how == "cross":
            return "how=cross"
        keys = ", ".join(f"{left.meta.output_name()} = {right.meta.output_name()}" for left, right in zip(self.left_on, self.right_on, strict=True))
        return f"how={self.how}, on {keys}"
